import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes what the pipeline 'copy' would, with one thing wrong, to see that the checker tells it; or somebody else's transactions. */
final class Forge {
  static KafkaProducer<byte[], byte[]> producer(String brokers, String id, int timeoutMs) {
    Properties config = Topics.client(brokers);
    config.put("transactional.id", id);
    config.put("transaction.timeout.ms", timeoutMs);
    KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    producer.initTransactions();
    return producer;
  }

  static void copy(String brokers, String input, String output, String group, String wrong, List<KafkaProducer<?, ?>> leftOpen) {
    Map<TopicPartition, List<Topics.Seen>> read = Topics.read(brokers, List.of(input));
    KafkaProducer<byte[], byte[]> producer = producer(brokers, output + "-forge", 120_000);
    producer.beginTransaction();
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    read.forEach((partition, records) -> {
      List<Topics.Seen> passed = new ArrayList<>(records.stream().filter(record -> !Rules.kind(record.value()).equals("drop")).toList());
      int middle = passed.size() / 2;
      if (partition.partition() == 0) {
        switch (wrong) {
          case "dropped" -> passed.remove(middle);
          case "doubled" -> passed.add(middle, passed.get(middle - 1));
          case "swapped" -> passed.add(middle, passed.remove(middle - 1));
          default -> {}
        }
      }
      for (Topics.Seen record : passed)
        producer.send(new ProducerRecord<>(output, partition.partition(), record.timestamp(), record.keyBytes(), record.valueBytes()));
      long end = records.get(records.size() - 1).offset() + 1;
      offsets.put(partition, new OffsetAndMetadata(wrong.equals("behind") && partition.partition() == 0 ? end - 1 : end));
    });
    producer.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(group));
    producer.commitTransaction();
    if (!wrong.equals("open")) {
      producer.close();
      return;
    }
    producer.beginTransaction();
    producer.send(new ProducerRecord<>(output, 0, null, Feed.bytes("k0"), Feed.bytes("0|never")));
    producer.flush();
    leftOpen.add(producer);
  }

  /** A transaction of somebody else's on a topic, aborted or left open for so long; under an id of its own, unless one is given. */
  static void foreign(String brokers, String id, String topic, int partition, String end, int timeoutMs, byte[] key, List<KafkaProducer<?, ?>> leftOpen) {
    KafkaProducer<byte[], byte[]> producer = producer(brokers, id != null ? id : "foreign-" + topic + "-" + System.nanoTime(), timeoutMs);
    producer.beginTransaction();
    for (int n = 0; n < 5; n++) producer.send(new ProducerRecord<>(topic, partition, null, key, Feed.bytes("0|never")));
    producer.flush();
    if (end.equals("abort")) {
      producer.abortTransaction();
      producer.close();
    } else {
      leftOpen.add(producer);
    }
  }

  private Forge() {}
}
