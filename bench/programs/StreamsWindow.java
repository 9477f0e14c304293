// The windowed count on Kafka Streams, exactly_once_v2: started as a source file, with Kafka's jars on the class path.
import java.io.BufferedReader;
import java.io.FileReader;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.Stores;

public class StreamsWindow {
  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    long records = Long.parseLong(env.get("RECORDS"));
    String group = "streams-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis();
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env.get("KAFKA_BROKERS"));
    config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, env.get("COMMIT_MS"));
    config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, env.getOrDefault("STREAM_THREADS", "2"));
    config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
    config.put(StreamsConfig.STATE_DIR_CONFIG, env.get("STATE_DIR"));
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5");

    Duration size = Duration.ofSeconds(10);
    AtomicLong seen = new AtomicLong();
    AtomicLong began = new AtomicLong();
    AtomicLong cpu = new AtomicLong();
    Materialized<String, Long, ?> store = "memory".equals(env.get("STORE"))
        ? Materialized.<String, Long>as(Stores.inMemoryWindowStore("counts", Duration.ofSeconds(20), size, false))
        : Materialized.<String, Long, org.apache.kafka.streams.state.WindowStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("counts");
    @SuppressWarnings("unchecked")
    Materialized<String, Long, org.apache.kafka.streams.state.WindowStore<org.apache.kafka.common.utils.Bytes, byte[]>> typed =
        (Materialized<String, Long, org.apache.kafka.streams.state.WindowStore<org.apache.kafka.common.utils.Bytes, byte[]>>) store;
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(env.get("INPUT_TOPIC"), Consumed.with(Serdes.String(), Serdes.String()))
        .peek((key, value) -> {
          if (seen.getAndIncrement() == 0) {
            began.set(System.nanoTime());
            cpu.set(cpuNanos());
          }
        })
        .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
        .windowedBy(TimeWindows.ofSizeWithNoGrace(size))
        .emitStrategy(EmitStrategy.onWindowClose())
        .count(typed.withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
        .toStream()
        .map((key, count) -> new org.apache.kafka.streams.KeyValue<>(key.key(), "{\"start\":" + key.window().start() + ",\"end\":" + key.window().end() + ",\"result\":" + count + "}"))
        .to(env.get("OUTPUT_TOPIC"), Produced.with(Serdes.String(), Serdes.String()));

    KafkaStreams streams = new KafkaStreams(builder.build(), config);
    streams.start();
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", env.get("KAFKA_BROKERS")))) {
      while (seen.get() < records || committed(admin, group, env.get("INPUT_TOPIC")) < records) Thread.sleep(20);
    }
    double seconds = (System.nanoTime() - began.get()) / 1e9;
    System.out.printf("{\"records\":%d,\"seconds\":%.3f,\"cpuMicrosPerRecord\":%.3f,\"peakMegabytes\":%.0f}%n",
        records, seconds, (cpuNanos() - cpu.get()) / 1e3 / records, peakKilobytes() / 1024.0);
    System.out.flush();
    streams.close(Duration.ofSeconds(5));
    System.exit(0);
  }

  /** Sum of the committed offsets: the input holds no control records, so as many records. */
  private static long committed(Admin admin, String group, String topic) throws Exception {
    long sum = 0;
    for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().entrySet()) {
      if (entry.getValue() != null && entry.getKey().topic().equals(topic)) sum += entry.getValue().offset();
    }
    return sum;
  }

  private static long cpuNanos() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }

  private static long peakKilobytes() throws Exception {
    try (BufferedReader reader = new BufferedReader(new FileReader("/proc/self/status"))) {
      for (String line = reader.readLine(); line != null; line = reader.readLine()) {
        if (line.startsWith("VmHWM:")) return Long.parseLong(line.replaceAll("[^0-9]", ""));
      }
    }
    return 0;
  }
}
