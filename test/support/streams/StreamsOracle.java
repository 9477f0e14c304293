// What Kafka Streams makes of scenarios, by its own TopologyTestDriver: reads them as JSON from the first file, writes the results of each to the second.
// Started as a source file, with the jars of the driver on the class path.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.io.File;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestInputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

public class StreamsOracle {
  private static final Serde<String> TEXT = Serdes.String();
  private static final Consumed<String, String> READ = Consumed.with(TEXT, TEXT);
  /** Longer than any jump of time: what a store lets go of earlier is never handed out. */
  private static final Duration RETENTION = Duration.ofDays(10_000);

  public static void main(String[] files) throws Exception {
    ObjectMapper mapper = new ObjectMapper();
    ArrayNode all = mapper.createArrayNode();
    for (JsonNode scenario : mapper.readTree(new File(files[0]))) all.add(run(scenario, mapper));
    mapper.writeValue(new File(files[1]), all);
    System.exit(0);
  }

  private static ArrayNode run(JsonNode scenario, ObjectMapper mapper) {
    Properties config = new Properties();
    config.put(StreamsConfig.APPLICATION_ID_CONFIG, "oracle");
    config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
    config.put(StreamsConfig.DSL_STORE_SUPPLIERS_CLASS_CONFIG, BuiltInDslStoreSuppliers.InMemoryDslStoreSuppliers.class);
    // Results are looked for at every record, not once in a while by the clock.
    config.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
    config.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_OUTER_JOIN_SPURIOUS_RESULTS_FIX, 0L);
    StreamsBuilder builder = new StreamsBuilder();
    results(builder, scenario).to("out", Produced.with(TEXT, TEXT));

    ArrayNode out = mapper.createArrayNode();
    try (TopologyTestDriver driver = new TopologyTestDriver(builder.build(), config)) {
      for (JsonNode record : scenario.get("records")) {
        TestInputTopic<String, String> topic =
            driver.createInputTopic(record.get("topic").asText(), new StringSerializer(), new StringSerializer());
        JsonNode value = record.get("value");
        topic.pipeInput(record.get("key").asText(), value.isNull() ? null : value.asText(), record.get("time").asLong());
      }
      driver.createOutputTopic("out", new StringDeserializer(), new StringDeserializer())
          .readKeyValuesToList()
          .forEach(result -> out.add(result.key + " " + result.value));
    }
    return out;
  }

  private static KStream<String, String> results(StreamsBuilder builder, JsonNode scenario) {
    String kind = scenario.get("kind").asText();
    switch (kind) {
      case "tumbling":
      case "hopping":
      case "sliding":
      case "session":
        return windows(builder.stream("in", READ).groupByKey(Grouped.with(TEXT, TEXT)), kind, scenario);
      case "aggregate":
        return builder.stream("in", READ).groupByKey(Grouped.with(TEXT, TEXT))
            .aggregate(() -> "", (key, value, ids) -> plus(ids, value), Materialized.with(TEXT, TEXT)).toStream();
      case "table-inner":
      case "table-left":
        return joinedTable(builder, kind);
      default:
        return joined(builder, kind, scenario);
    }
  }

  private static KStream<String, String> windows(KGroupedStream<String, String> records, String kind, JsonNode scenario) {
    Duration size = millis(scenario, "size");
    Duration grace = millis(scenario, "grace");
    EmitStrategy atClose = EmitStrategy.onWindowClose();
    KTable<Windowed<String>, String> results;
    if (kind.equals("session")) {
      results = records.windowedBy(SessionWindows.ofInactivityGapAndGrace(size, grace)).emitStrategy(atClose)
          .aggregate(() -> "", (key, value, ids) -> plus(ids, value), (key, one, other) -> plus(one, other),
              Materialized.<String, String, SessionStore<Bytes, byte[]>>with(TEXT, TEXT).withRetention(RETENTION));
    } else {
      Materialized<String, String, WindowStore<Bytes, byte[]>> store =
          Materialized.<String, String, WindowStore<Bytes, byte[]>>with(TEXT, TEXT).withRetention(RETENTION);
      results = kind.equals("sliding")
          ? records.windowedBy(SlidingWindows.ofTimeDifferenceAndGrace(size, grace)).emitStrategy(atClose)
              .aggregate(() -> "", (key, value, ids) -> plus(ids, value), store)
          : records.windowedBy(TimeWindows.ofSizeAndGrace(size, grace).advanceBy(millis(scenario, "advance"))).emitStrategy(atClose)
              .aggregate(() -> "", (key, value, ids) -> plus(ids, value), store);
    }
    return results.toStream()
        .map((key, ids) -> KeyValue.pair(key.key(), key.window().start() + "-" + key.window().end() + " " + ids));
  }

  private static KStream<String, String> joined(StreamsBuilder builder, String kind, JsonNode scenario) {
    KStream<String, String> left = builder.stream("left", READ);
    KStream<String, String> right = builder.stream("right", READ);
    JoinWindows windows = JoinWindows.ofTimeDifferenceAndGrace(millis(scenario, "before"), millis(scenario, "grace"))
        .before(millis(scenario, "before")).after(millis(scenario, "after"));
    StreamJoined<String, String, String> kept = StreamJoined.with(TEXT, TEXT, TEXT);
    switch (kind) {
      case "left":
        return left.leftJoin(right, PAIR, windows, kept);
      case "outer":
        return left.outerJoin(right, PAIR, windows, kept);
      default:
        return left.join(right, PAIR, windows, kept);
    }
  }

  private static KStream<String, String> joinedTable(StreamsBuilder builder, String kind) {
    KTable<String, String> rows = builder.table("rows", READ);
    KStream<String, String> records = builder.stream("in", READ);
    Joined<String, String, String> with = Joined.with(TEXT, TEXT, TEXT);
    return kind.equals("table-left") ? records.leftJoin(rows, PAIR, with) : records.join(rows, PAIR, with);
  }

  private static final ValueJoiner<String, String, String> PAIR =
      (left, right) -> (left == null ? "-" : left) + "+" + (right == null ? "-" : right);

  private static String plus(String one, String other) {
    return one.isEmpty() ? other : one + "," + other;
  }

  private static Duration millis(JsonNode scenario, String name) {
    return Duration.ofMillis(scenario.get(name).asLong());
  }
}
