import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;

/** Takes orders, a line of JSON each, on stdin, works on them side by side, and answers each with a line on stdout. */
public final class Daemon {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Map<String, Feed> FEEDS = new ConcurrentHashMap<>();
  private static final Map<String, Follower> FOLLOWERS = new ConcurrentHashMap<>();
  /** Input that was deleted, by group. */
  static final Map<String, Kept> KEPT = new ConcurrentHashMap<>();
  private static final List<KafkaProducer<?, ?>> LEFT_OPEN = Collections.synchronizedList(new ArrayList<>());

  public static void main(String[] args) throws Exception {
    BufferedReader orders = new BufferedReader(new InputStreamReader(System.in));
    for (String line = orders.readLine(); line != null; line = orders.readLine()) {
      JsonNode order = JSON.readTree(line);
      Thread worker = new Thread(() -> answer(order));
      worker.setDaemon(true);
      worker.start();
    }
    System.exit(0);
  }

  private static void answer(JsonNode order) {
    ObjectNode answer = JSON.createObjectNode();
    answer.set("id", order.get("id"));
    try {
      answer.set("result", JSON.valueToTree(work(order)));
    } catch (Throwable error) {
      StringBuilder text = new StringBuilder();
      for (Throwable cause = error; cause != null; cause = cause.getCause()) text.append(text.isEmpty() ? "" : "; because ").append(cause);
      answer.put("error", text.toString());
    }
    synchronized (System.out) {
      System.out.println(answer);
    }
  }

  private static Object work(JsonNode order) throws Exception {
    String brokers = order.get("brokers").asText();
    String name = order.path("name").asText();
    switch (order.get("order").asText()) {
      case "create" -> {
        try (Admin admin = Topics.admin(brokers)) {
          List<String> topics = texts(order.get("topics"));
          int partitions = order.get("partitions").asInt();
          short replicas = (short) order.get("replicas").asInt();
          admin.createTopics(topics.stream().map(topic -> new NewTopic(topic, partitions, replicas)).toList()).all().get();
          // Every broker has to have heard of them.
          for (String broker : brokers.split(",")) {
            try (KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(broker, "read_committed")) {
              for (String topic : topics) while (led(consumer, topic) < partitions) Thread.sleep(20);
            }
          }
          return true;
        }
      }
      case "keep" -> {
        KEPT.put(name, Kept.all(brokers, texts(order.get("inputs"))));
        return true;
      }
      case "retain" -> {
        try (Admin admin = Topics.admin(brokers)) {
          Kept kept = Kept.delete(brokers, admin, texts(order.get("inputs")), order.get("group").asText());
          KEPT.put(name, kept);
          return kept.gone;
        }
      }
      case "remove" -> {
        try (Admin admin = Topics.admin(brokers)) {
          List<String> topics = texts(order.get("topics"));
          admin.deleteTopics(topics).all().get();
          while (admin.listTopics().names().get().stream().anyMatch(topics::contains)) Thread.sleep(50);
          return true;
        }
      }
      case "grow" -> {
        try (Admin admin = Topics.admin(brokers); KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(brokers, "read_committed")) {
          int partitions = order.get("partitions").asInt();
          for (String topic : texts(order.get("topics"))) {
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
            while (led(consumer, topic) < partitions) Thread.sleep(20);
          }
          return true;
        }
      }
      case "delete" -> {
        // A broker that was killed reads all it has again before it serves.
        try (Admin admin = Topics.admin(brokers)) {
          List<String> mine = admin.listTopics().names().get().stream().filter(topic -> topic.startsWith(name)).toList();
          admin.deleteTopics(mine).all().get();
          return mine.size();
        }
      }
      case "feed" -> {
        FEEDS.put(name, new Feed(brokers, texts(order.get("topics")).toArray(new String[0]), Rules.valueOf(order.get("rules").asText()),
            order.get("seed").asLong(), order.path("perSecond").asInt(0), order.path("most").asLong(Long.MAX_VALUE)));
        return true;
      }
      case "fed" -> {
        return FEEDS.remove(name).ended();
      }
      case "stopFeed" -> {
        return FEEDS.remove(name).stop();
      }
      case "follow" -> {
        FOLLOWERS.put(name, new Follower(brokers, texts(order.get("topics"))));
        return true;
      }
      case "behind" -> {
        try (Admin admin = Topics.admin(brokers); KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(brokers, "read_committed")) {
          Check check = new Check(brokers, order);
          return check.behind(admin, consumer).values().stream().mapToLong(Long::longValue).sum();
        }
      }
      case "check" -> {
        Check check = new Check(brokers, order);
        check.run(FOLLOWERS.remove(name));
        return Map.of("problems", check.problems, "counts", check.counts);
      }
      case "forge" -> {
        Forge.copy(brokers, order.get("input").asText(), order.get("output").asText(), order.get("group").asText(), order.get("wrong").asText(), LEFT_OPEN);
        return true;
      }
      case "foreign" -> {
        Forge.foreign(brokers, order.path("transactionalId").asText(null), order.get("topic").asText(), order.get("partition").asInt(), order.get("end").asText(), order.get("timeoutMs").asInt(),
            Feed.bytes(order.path("key").asText("k0")), LEFT_OPEN);
        return true;
      }
      case "coordinators" -> {
        try (Admin admin = Topics.admin(brokers)) {
          String group = order.get("group").asText();
          int ofGroup = admin.describeConsumerGroups(List.of(group)).describedGroups().get(group).get().coordinator().id();
          String topic = order.get("topic").asText();
          int leader = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().get(0).leader().id();
          // The transactional ids of a group begin with its name.
          var ofTransactions = admin.listTransactions().allByBrokerId().get();
          int ofTransaction = ofTransactions.entrySet().stream()
              .filter(broker -> broker.getValue().stream().anyMatch(one -> one.transactionalId().startsWith(group)))
              .mapToInt(Map.Entry::getKey).findFirst().orElseThrow(() -> new IllegalStateException("the group has no transactional id"));
          return Map.of("group", ofGroup, "leader", leader, "transaction", ofTransaction);
        }
      }
      case "transactions" -> {
        try (Admin admin = Topics.admin(brokers)) {
          return Topics.open(admin, order.get("group").asText());
        }
      }
      case "finish" -> {
        try (Admin admin = Topics.admin(brokers)) {
          return Hanging.abort(admin, texts(order.get("topics")));
        }
      }
      case "move" -> {
        try (Admin admin = Topics.admin(brokers)) {
          return Topics.move(admin, order.get("topic").asText());
        }
      }
      default -> throw new IllegalArgumentException("unknown order");
    }
  }

  private static long led(KafkaConsumer<byte[], byte[]> consumer, String topic) {
    var found = consumer.partitionsFor(topic);
    return found == null ? 0 : found.stream().filter(info -> info.leader() != null && !info.leader().isEmpty()).count();
  }

  static List<String> texts(JsonNode list) {
    List<String> all = new ArrayList<>();
    list.forEach(text -> all.add(text.asText()));
    return all;
  }
}
