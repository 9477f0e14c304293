// The jobs on Kafka Streams, exactly_once_v2, by MODE: started as a source file, with Kafka's jars on the class path.
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

public class Streams {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final AtomicLong seen = new AtomicLong();
  private static final AtomicLong began = new AtomicLong();
  private static final AtomicLong cpu = new AtomicLong();

  public static void main(String[] arguments) throws Exception {
    Map<String, String> env = System.getenv();
    String mode = env.get("MODE");
    String input = env.get("INPUT_TOPIC");
    String other = env.get("OTHER_TOPIC");
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
    // Waits for the other side, as millrace does: else a join misses what comes out of order.
    if (other != null && !other.isEmpty()) config.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, "1000");
    config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5");

    StreamsBuilder builder = new StreamsBuilder();
    KStream<String, String> stream = watched(builder.stream(input, Consumed.with(Serdes.String(), Serdes.String())));
    topology(builder, stream, mode, other, env).to(env.get("OUTPUT_TOPIC"), Produced.with(Serdes.String(), Serdes.String()));

    List<String> sources = new ArrayList<>(List.of(input));
    if (mode.equals("join")) sources.add(other);
    long total = records * sources.size();
    KafkaStreams streams = new KafkaStreams(builder.build(), config);
    streams.start();
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", env.get("KAFKA_BROKERS")))) {
      while (seen.get() < total || committed(admin, group, sources) < total) Thread.sleep(20);
    }
    Measure.report(total, began.get(), cpu.get());
    streams.close(Duration.ofSeconds(5));
    System.exit(0);
  }

  private static KStream<String, String> topology(
      StreamsBuilder builder, KStream<String, String> stream, String mode, String other, Map<String, String> env) {
    switch (mode) {
      case "pass":
        return stream;
      case "json":
        return stream.mapValues(value -> raised(parse(value)));
      case "zod":
        return stream.mapValues(Streams::parse)
            .filter((key, order) -> order.get("id").isNumber() && order.get("sku").isTextual() && order.get("note").isTextual()
                && order.get("amount").isNumber() && order.get("amount").asLong() % 2 == 0)
            .mapValues(Streams::raised);
      case "count":
      case "updates": {
        Duration size = Duration.ofSeconds(10);
        Materialized<String, Long, WindowStore<Bytes, byte[]>> store = "memory".equals(env.get("STORE"))
            ? Materialized.as(Stores.inMemoryWindowStore("counts", Duration.ofSeconds(20), size, false))
            : Materialized.as("counts");
        TimeWindowedKStream<String, String> windows = stream
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(size));
        if (mode.equals("count")) windows = windows.emitStrategy(EmitStrategy.onWindowClose());
        return results(windows.count(store.withKeySerde(Serdes.String()).withValueSerde(Serdes.Long())).toStream());
      }
      case "sessions": {
        Materialized<String, Long, SessionStore<Bytes, byte[]>> store = Materialized.as("counts");
        return results(stream
            .groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .windowedBy(SessionWindows.ofInactivityGapWithNoGrace(Duration.ofSeconds(5)))
            .emitStrategy(EmitStrategy.onWindowClose())
            .count(store.withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream());
      }
      case "join": {
        KStream<String, String> right = watched(builder.stream(other, Consumed.with(Serdes.String(), Serdes.String())));
        return stream.join(
            right,
            (one, two) -> "{\"left\":" + parse(one).get("id") + ",\"right\":" + parse(two).get("id") + "}",
            JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(5), Duration.ofSeconds(60)),
            StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()));
      }
      case "table":
        return stream.join(
            builder.table(other, Consumed.with(Serdes.String(), Serdes.String())),
            (order, customer) -> "{\"id\":" + parse(order).get("id") + ",\"city\":" + parse(customer).get("city") + "}",
            Joined.with(Serdes.String(), Serdes.String(), Serdes.String()));
      default:
        throw new IllegalArgumentException("no job '" + mode + "'");
    }
  }

  private static KStream<String, String> watched(KStream<String, String> stream) {
    return stream.peek((key, value) -> {
      if (seen.getAndIncrement() == 0) {
        began.set(System.nanoTime());
        cpu.set(Measure.cpuNanos());
      }
    });
  }

  private static KStream<String, String> results(KStream<Windowed<String>, Long> counts) {
    return counts.filter((key, count) -> count != null).map((key, count) -> new KeyValue<>(key.key(),
        "{\"start\":" + key.window().start() + ",\"end\":" + key.window().end() + ",\"result\":" + count + "}"));
  }

  private static ObjectNode parse(String value) {
    try {
      return (ObjectNode) JSON.readTree(value);
    } catch (java.io.IOException error) {
      throw new RuntimeException(error);
    }
  }

  private static String raised(ObjectNode order) {
    return order.put("amount", order.get("amount").asLong() + 1).toString();
  }

  /** Sum of the committed offsets: the inputs hold no control records, so as many records. */
  private static long committed(Admin admin, String group, List<String> topics) throws Exception {
    long sum = 0;
    for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().entrySet()) {
      if (entry.getValue() != null && topics.contains(entry.getKey().topic())) sum += entry.getValue().offset();
    }
    return sum;
  }
}
