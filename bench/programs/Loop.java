// The job as a careful hand-written loop on the Java client: one consumer, one transactional producer, offsets in the transaction.
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Loop {
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    boolean json = "json".equals(env.get("MODE"));
    long total = Long.parseLong(env.get("RECORDS"));
    long commitNanos = Long.parseLong(env.get("COMMIT_MS")) * 1_000_000;
    String output = env.get("OUTPUT_TOPIC");
    String group = "loop-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis();
    Properties reading = new Properties();
    reading.put("bootstrap.servers", env.get("KAFKA_BROKERS"));
    reading.put("group.id", group);
    reading.put("isolation.level", "read_committed");
    reading.put("enable.auto.commit", "false");
    reading.put("auto.offset.reset", "earliest");
    reading.put("max.poll.records", "5000");
    Properties writing = new Properties();
    writing.put("bootstrap.servers", env.get("KAFKA_BROKERS"));
    writing.put("transactional.id", group);
    writing.put("linger.ms", "5");
    writing.put("batch.size", "262144");
    try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(reading, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(writing, new ByteArraySerializer(), new ByteArraySerializer())) {
      producer.initTransactions();
      consumer.subscribe(List.of(env.get("INPUT_TOPIC")));
      long done = 0, began = 0, cpu = 0;
      Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
      while (done < total) {
        long until = System.nanoTime() + commitNanos;
        boolean open = false;
        while (System.nanoTime() < until && done < total) {
          ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(20));
          if (polled.isEmpty()) continue;
          if (began == 0) {
            began = System.nanoTime();
            cpu = Measure.cpuNanos();
          }
          if (!open) producer.beginTransaction();
          open = true;
          for (ConsumerRecord<byte[], byte[]> record : polled)
            producer.send(new ProducerRecord<>(output, null, record.timestamp(), record.key(), json ? raised(record.value()) : record.value(), record.headers()));
          for (TopicPartition partition : polled.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> of = polled.records(partition);
            offsets.put(partition, new OffsetAndMetadata(of.get(of.size() - 1).offset() + 1));
          }
          done += polled.count();
        }
        if (!open) continue;
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        producer.commitTransaction();
        offsets.clear();
      }
      Measure.report(total, began, cpu);
    }
  }

  private static byte[] raised(byte[] value) throws Exception {
    ObjectNode order = (ObjectNode) JSON.readTree(value);
    return order.put("amount", order.get("amount").asLong() + 1).toString().getBytes(StandardCharsets.UTF_8);
  }
}
