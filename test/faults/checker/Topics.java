import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads topics with the official consumer, whole. */
final class Topics {
  /** Longer than any fault lasts: a broker that is down is waited for. */
  private static final Duration PATIENCE = Duration.ofMinutes(3);
  private static final Set<TransactionState> OVER = Set.of(TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT);

  record Seen(String topic, int partition, long offset, long timestamp, byte[] keyBytes, byte[] valueBytes, String id) {
    String key() {
      return keyBytes == null ? null : new String(keyBytes, StandardCharsets.UTF_8);
    }

    String value() {
      return valueBytes == null ? null : new String(valueBytes, StandardCharsets.UTF_8);
    }
  }

  static Properties client(String brokers) {
    Properties config = new Properties();
    config.put("bootstrap.servers", brokers);
    config.put("default.api.timeout.ms", (int) PATIENCE.toMillis());
    config.put("reconnect.backoff.max.ms", 500);
    return config;
  }

  static KafkaConsumer<byte[], byte[]> consumer(String brokers, String isolation) {
    Properties config = client(brokers);
    config.put("isolation.level", isolation);
    config.put("enable.auto.commit", false);
    config.put("auto.offset.reset", "none");
    config.put("fetch.max.wait.ms", 100);
    return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static Admin admin(String brokers) {
    return Admin.create(client(brokers));
  }

  /** Gives every partition of a topic another leader; returns how many have one. */
  static int move(Admin admin, String topic) throws Exception {
    List<TopicPartitionInfo> before = describe(admin, topic);
    Map<TopicPartition, Optional<NewPartitionReassignment>> wanted = new HashMap<>();
    for (TopicPartitionInfo info : before) {
      List<Integer> replicas = new ArrayList<>(info.replicas().stream().map(Node::id).toList());
      // The leader goes last: the first one is who leads by preference.
      replicas.remove((Integer) info.leader().id());
      replicas.add(info.leader().id());
      wanted.put(new TopicPartition(topic, info.partition()), Optional.of(new NewPartitionReassignment(replicas)));
    }
    admin.alterPartitionReassignments(wanted).all().get();
    while (!admin.listPartitionReassignments(wanted.keySet()).reassignments().get().isEmpty()) Thread.sleep(50);
    admin.electLeaders(ElectionType.PREFERRED, wanted.keySet()).partitions().get();
    int moved = 0;
    for (TopicPartitionInfo info : describe(admin, topic)) {
      int earlier = before.stream().filter(one -> one.partition() == info.partition()).findFirst().orElseThrow().leader().id();
      if (info.leader() != null && info.leader().id() != earlier) moved++;
    }
    return moved;
  }

  /** What its coordinator says of each transaction of a group that is not over. The transactional ids of a group begin with its name. */
  static List<String> open(Admin admin, String group) throws Exception {
    List<String> ids = admin.listTransactions().all().get().stream()
        .filter(one -> one.transactionalId().startsWith(group) && !OVER.contains(one.state())).map(TransactionListing::transactionalId).toList();
    List<String> told = new ArrayList<>();
    for (var one : admin.describeTransactions(ids).all().get().entrySet()) told.add(one.getKey() + ": " + one.getValue());
    return told;
  }

  private static List<TopicPartitionInfo> describe(Admin admin, String topic) throws Exception {
    return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
  }

  static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, Collection<String> topics) {
    List<TopicPartition> all = new ArrayList<>();
    for (String topic : topics) {
      var found = consumer.partitionsFor(topic, PATIENCE);
      if (found == null || found.isEmpty()) throw new IllegalStateException("there is no topic " + topic);
      found.forEach(info -> all.add(new TopicPartition(topic, info.partition())));
    }
    return all;
  }

  /** The committed records of some topics up to their last stable offsets as they are now, by partition, in order. */
  static Map<TopicPartition, List<Seen>> read(String brokers, Collection<String> topics) {
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(brokers, "read_committed")) {
      List<TopicPartition> partitions = partitions(consumer, topics);
      Map<TopicPartition, Long> first = consumer.beginningOffsets(partitions);
      return read(consumer, first);
    }
  }

  /** The same from given offsets on. */
  static Map<TopicPartition, List<Seen>> read(KafkaConsumer<byte[], byte[]> consumer, Map<TopicPartition, Long> from) {
    Map<TopicPartition, List<Seen>> found = new HashMap<>();
    from.keySet().forEach(partition -> found.put(partition, new ArrayList<>()));
    consumer.assign(from.keySet());
    Map<TopicPartition, Long> ends = consumer.endOffsets(from.keySet());
    from.forEach(consumer::seek);
    long deadline = System.nanoTime() + PATIENCE.toNanos();
    while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
      if (System.nanoTime() > deadline) throw new IllegalStateException("a topic could not be read to its end: " + ends);
      for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
        TopicPartition partition = new TopicPartition(record.topic(), record.partition());
        // What came after the look at the end belongs to the next one.
        if (record.offset() < ends.get(partition)) found.get(partition).add(seen(record));
      }
    }
    return found;
  }

  static Seen seen(ConsumerRecord<byte[], byte[]> record) {
    var header = record.headers().lastHeader("id");
    String id = header == null ? null : new String(header.value(), StandardCharsets.UTF_8);
    return new Seen(record.topic(), record.partition(), record.offset(), record.timestamp(), record.key(), record.value(), id);
  }

  private Topics() {}
}
