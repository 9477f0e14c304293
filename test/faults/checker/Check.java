import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Compares what a pipeline left in its topics with what must be there. */
final class Check {
  private final String brokers;
  private final Rules rules;
  private final List<String> inputs;
  /** What the pipeline writes for itself to read. */
  private final List<String> inlets;
  /** Topics by role. */
  private final Map<String, String> outputs = new TreeMap<>();
  private final List<String> changelogs;
  /** Ids may pass once more, as their store forgot them. */
  private final boolean forgetful;
  /** Somebody deleted the outputs meanwhile: what is there is the end of what must be. */
  private final boolean shortened;
  private final String group;
  /** All topics that the run wrote to. */
  private final Set<String> all = new TreeSet<>();
  final List<String> problems = new ArrayList<>();
  final Map<String, Long> counts = new TreeMap<>();

  Check(String brokers, JsonNode order) {
    this.brokers = brokers;
    rules = Rules.valueOf(order.get("rules").asText());
    inputs = Daemon.texts(order.get("inputs"));
    order.get("outputs").fields().forEachRemaining(role -> outputs.put(role.getKey(), role.getValue().asText()));
    changelogs = Daemon.texts(order.path("changelogs"));
    forgetful = order.path("forgetful").asBoolean();
    shortened = order.path("shortened").asBoolean();
    group = order.get("group").asText();
    all.addAll(inputs);
    all.addAll(outputs.values());
    inlets = Daemon.texts(order.path("inlets"));
    all.addAll(inlets);
    all.addAll(changelogs);
  }

  void run(Follower follower) throws Exception {
    try (Admin admin = Topics.admin(brokers); KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(brokers, "read_committed")) {
      stable(admin, consumer);
      offsets(admin, consumer);
    }
    Map<Integer, List<Topics.Seen>> input = new TreeMap<>();
    Kept kept = Daemon.KEPT.get(group);
    if (kept != null) kept.read.forEach((partition, records) -> input.put(partition, new ArrayList<>(records)));
    Topics.read(brokers, inputs).forEach((partition, records) -> input.computeIfAbsent(partition.partition(), key -> new ArrayList<>()).addAll(records));
    Map<TopicPartition, List<Topics.Seen>> found = Topics.read(brokers, outputs.values());
    if (follower != null) {
      List<String> seen = follower.problems(found);
      if (!shortened) problems.addAll(seen);
    }
    Rules.Expected expected = rules.expected(input);
    outputs.forEach((role, topic) -> {
      List<Topics.Seen> records = new ArrayList<>();
      found.keySet().stream().filter(partition -> partition.topic().equals(topic)).sorted((a, b) -> a.partition() - b.partition())
          .forEach(partition -> records.addAll(found.get(partition)));
      counts.put(role, (long) records.size());
      if (forgetful) forgotten(input, records);
      else if (rules != Rules.idle) compare(role, records, expected.outputs.getOrDefault(role, Map.of()));
    });
    Map<String, String> state = State.read(brokers, rules, changelogs);
    if (expected.state != null && !changelogs.isEmpty()) compareState(state, expected.state);
    if (rules == Rules.idle) idle(input, found, state);
    accounts(input, found, expected, state);
  }

  /** Nothing is left open: the last stable offset is the high watermark, on all topics. */
  private void stable(Admin admin, KafkaConsumer<byte[], byte[]> consumer) throws Exception {
    List<TopicPartition> partitions = Topics.partitions(consumer, all);
    Map<TopicPartition, Long> stable = consumer.endOffsets(partitions);
    try (KafkaConsumer<byte[], byte[]> uncommitted = Topics.consumer(brokers, "read_uncommitted")) {
      for (Map.Entry<TopicPartition, Long> high : uncommitted.endOffsets(partitions).entrySet()) {
        TopicPartition partition = high.getKey();
        if (!high.getValue().equals(stable.get(partition)))
          problems.add(partition + ": a transaction is left open, the last stable offset is " + stable.get(partition) + " of " + high.getValue() + openOn(admin, partition));
      }
    }
  }

  /** Whose transactions are open on a partition, and what their coordinator says of them. */
  private static String openOn(Admin admin, TopicPartition partition) throws Exception {
    StringBuilder told = new StringBuilder();
    var transactions = admin.listTransactions().all().get();
    for (var producer : admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers()) {
      if (producer.currentTransactionStartOffset().isEmpty()) continue;
      told.append(told.isEmpty() ? ": " : ", ").append("since ").append(producer.currentTransactionStartOffset().getAsLong()).append(" of producer ").append(producer.producerId())
          .append(", epoch ").append(producer.producerEpoch());
      for (var one : transactions) if (one.producerId() == producer.producerId()) told.append(" (").append(one.transactionalId()).append(", by its coordinator ").append(one.state()).append(")");
    }
    return told.toString();
  }

  /** The group's offsets are at the end: no committed record is behind them. */
  private void offsets(Admin admin, KafkaConsumer<byte[], byte[]> consumer) throws Exception {
    behind(admin, consumer).forEach((partition, records) -> problems.add(partition + ": the group's offset is " + records + " records before the end"));
  }

  /** How many committed records are behind the group's offsets, where there are any. */
  Map<TopicPartition, Long> behind(Admin admin, KafkaConsumer<byte[], byte[]> consumer) throws Exception {
    Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
    Set<String> read = new HashSet<>(inputs);
    read.addAll(inlets);
    List<TopicPartition> partitions = Topics.partitions(consumer, read);
    Map<TopicPartition, Long> first = consumer.beginningOffsets(partitions);
    Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
    Map<TopicPartition, Long> from = new HashMap<>();
    ends.forEach((partition, end) -> {
      OffsetAndMetadata at = committed.get(partition);
      long offset = at == null ? first.get(partition) : at.offset();
      if (offset > end) problems.add(partition + ": the group's offset " + offset + " is beyond the end " + end);
      else if (offset < end) from.put(partition, offset);
    });
    Map<TopicPartition, Long> behind = new HashMap<>();
    if (from.isEmpty()) return behind;
    // What stands behind an offset may be the marker of an aborted transaction, which is no record.
    Topics.read(consumer, from).forEach((partition, records) -> {
      if (!records.isEmpty()) behind.put(partition, (long) records.size());
    });
    return behind;
  }

  private void compare(String role, List<Topics.Seen> records, Map<String, List<String>> expected) {
    Map<String, List<String>> found = new HashMap<>();
    for (Topics.Seen record : records) {
      String where = switch (rules.order()) {
        case partition -> "" + record.partition();
        case key -> record.key();
        case none -> "";
      };
      found.computeIfAbsent(where, key -> new ArrayList<>()).add(record.key() + "=" + text(record));
    }
    Set<String> places = new TreeSet<>(found.keySet());
    places.addAll(expected.keySet());
    for (String place : places) {
      List<String> have = found.getOrDefault(place, List.of());
      List<String> want = expected.getOrDefault(place, List.of());
      if (rules.order() == Rules.Order.none) {
        have = have.stream().sorted().toList();
        want = want.stream().sorted().toList();
      }
      if (shortened && !have.isEmpty() && have.size() <= want.size()) want = want.subList(want.size() - have.size(), want.size());
      if (!have.equals(want)) problems.add(role + (place.isEmpty() ? "" : " of " + rules.order() + " " + place) + ": " + difference(have, want));
    }
  }

  /** A text serde of the pipelines puts text in quotes. */
  private static String text(Topics.Seen record) {
    String value = record.value();
    return value.startsWith("\"") ? value.substring(1, value.length() - 1) : value;
  }

  private static String difference(List<String> have, List<String> want) {
    Map<String, Integer> left = new HashMap<>();
    want.forEach(one -> left.merge(one, 1, Integer::sum));
    have.forEach(one -> left.merge(one, -1, Integer::sum));
    List<String> lost = left.entrySet().stream().filter(one -> one.getValue() > 0).map(Map.Entry::getKey).toList();
    Set<String> wanted = new HashSet<>(want);
    List<String> doubled = left.entrySet().stream().filter(one -> one.getValue() < 0 && wanted.contains(one.getKey())).map(Map.Entry::getKey).toList();
    List<String> strange = left.entrySet().stream().filter(one -> one.getValue() < 0 && !wanted.contains(one.getKey())).map(Map.Entry::getKey).toList();
    int at = 0;
    while (at < Math.min(have.size(), want.size()) && have.get(at).equals(want.get(at))) at++;
    String first = "the first difference is at " + at + ": " + (at < have.size() ? have.get(at) : "the end") + " for " + (at < want.size() ? want.get(at) : "the end");
    if (lost.isEmpty() && doubled.isEmpty() && strange.isEmpty()) return "out of order; " + first;
    return lost.size() + " lost " + few(lost) + ", " + doubled.size() + " doubled " + few(doubled) + ", " + strange.size() + " never asked for " + few(strange) + "; " + first;
  }

  private static List<String> few(List<String> all) {
    return all.subList(0, Math.min(5, all.size()));
  }

  /** Where the store of ids forgot them once: each id passes, once or twice, in the order of the input. */
  private void forgotten(Map<Integer, List<Topics.Seen>> input, List<Topics.Seen> records) {
    input.forEach((partition, all) -> {
      List<String> have = records.stream().filter(record -> record.partition() == partition).map(Topics.Seen::value).toList();
      Map<String, Integer> times = new HashMap<>();
      int at = 0;
      for (Topics.Seen one : all) {
        if (at < have.size() && have.get(at).equals(one.value())) {
          at++;
          if (times.merge(one.id(), 1, Integer::sum) > 2) problems.add(one.id() + " passed " + times.get(one.id()) + " times");
        } else if (!times.containsKey(one.id())) {
          problems.add("out of partition " + partition + ": " + one.value() + " with " + one.id() + " is lost");
          return;
        }
      }
      if (at < have.size()) problems.add("out of partition " + partition + ": " + have.get(at) + " is doubled, or out of order");
    });
  }

  private void compareState(Map<String, String> have, Map<String, String> want) {
    if (have.equals(want)) return;
    List<String> wrong = new ArrayList<>();
    Set<String> keys = new TreeSet<>(have.keySet());
    keys.addAll(want.keySet());
    for (String key : keys) if (!String.valueOf(have.get(key)).equals(String.valueOf(want.get(key)))) wrong.add(key + " is " + have.get(key) + " for " + want.get(key));
    problems.add("the changelog holds another state: " + wrong.size() + " keys, " + few(wrong));
  }

  /** When a window closes for want of records depends on the clock, what is in it does not: each record in one window or late, each window once. */
  private void idle(Map<Integer, List<Topics.Seen>> input, Map<TopicPartition, List<Topics.Seen>> found, Map<String, String> state) {
    List<String> want = new ArrayList<>();
    input.values().forEach(records -> records.forEach(record -> want.add(Rules.number(record.value()))));
    List<String> have = new ArrayList<>();
    Set<String> windows = new HashSet<>();
    found.values().forEach(records -> records.forEach(record -> {
      if (!record.value().startsWith("{")) {
        have.add(Rules.number(record.value()));
        return;
      }
      if (!windows.add(record.key() + record.value().substring(0, record.value().indexOf("\"result\"")))) problems.add("window twice: " + record.key() + " " + record.value());
      have.addAll(List.of(record.value().substring(record.value().indexOf('[') + 1, record.value().indexOf(']')).split(",")));
    }));
    state.values().forEach(open -> have.addAll(List.of(open.substring(1, open.length() - 1).split(","))));
    Collections.sort(want);
    Collections.sort(have);
    if (!have.equals(want)) problems.add("records in windows, late or open: " + difference(have, want));
  }

  /** in = out + filtered + duplicate + late + dead, where an output stands for records of the input. */
  private void accounts(Map<Integer, List<Topics.Seen>> input, Map<TopicPartition, List<Topics.Seen>> found, Rules.Expected expected, Map<String, String> state) {
    long in = input.values().stream().mapToLong(List::size).sum();
    counts.put("in", in);
    counts.put("filtered", expected.filtered);
    Kept kept = Daemon.KEPT.get(group);
    if (kept != null && kept.gone > 0) counts.put("deleted unread", kept.gone);
    if (rules == Rules.join || shortened) return;
    long passed = found.values().stream().flatMap(List::stream).mapToLong(record -> Rules.weight(record.value())).sum();
    long open = switch (rules) {
      case window, idle -> state.values().stream().mapToLong(value -> value.split(",").length).sum();
      case delay -> state.size();
      default -> 0;
    };
    long duplicate = forgetful ? in - passed : expected.duplicate;
    counts.put("duplicate", duplicate);
    long accounted = passed + open + expected.filtered + duplicate;
    if (accounted != in) problems.add("of " + in + " records in, " + accounted + " are accounted for");
  }
}
