import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** Reads outputs, committed records only, while faults go on. What it has seen has to be a prefix of what is there in the end. */
final class Follower implements Runnable {
  private final String brokers;
  private final List<String> topics;
  private final Map<TopicPartition, List<String>> seen = new HashMap<>();
  private volatile boolean stopped;
  private volatile Throwable failure;
  private final Thread thread = new Thread(this, "follower");

  Follower(String brokers, List<String> topics) {
    this.brokers = brokers;
    this.topics = topics;
    thread.start();
  }

  static String text(Topics.Seen record) {
    return record.offset() + ":" + record.key() + "=" + record.value();
  }

  List<String> problems(Map<TopicPartition, List<Topics.Seen>> atTheEnd) throws InterruptedException {
    stopped = true;
    thread.join();
    List<String> problems = new ArrayList<>();
    if (failure != null) problems.add("the concurrent reader failed: " + failure);
    seen.forEach((partition, records) -> {
      List<String> all = atTheEnd.getOrDefault(partition, List.of()).stream().map(Follower::text).toList();
      if (records.size() > all.size() || !all.subList(0, records.size()).equals(records)) {
        int at = 0;
        while (at < Math.min(records.size(), all.size()) && records.get(at).equals(all.get(at))) at++;
        problems.add("a concurrent reader saw no prefix of " + partition + ": it parts at its record " + at + ", "
            + (at < records.size() ? records.get(at) : "its end") + ", where the log has " + (at < all.size() ? all.get(at) : "its end"));
      }
    });
    return problems;
  }

  @Override
  public void run() {
    try (KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(brokers, "read_committed")) {
      List<TopicPartition> partitions = Topics.partitions(consumer, topics);
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      while (!stopped) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
          seen.computeIfAbsent(new TopicPartition(record.topic(), record.partition()), key -> new ArrayList<>()).add(text(Topics.seen(record)));
        }
      }
    } catch (Throwable error) {
      failure = error;
    }
  }
}
