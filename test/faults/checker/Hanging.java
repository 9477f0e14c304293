import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.AbortTransactionSpec;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.common.TopicPartition;

/** Transactions that are open on a partition and over, or unknown, for their coordinator: what kafka-transactions.sh calls hanging. */
final class Hanging {
  /** One that ends between two questions looks like it: so they are asked twice. */
  private static final long APART_MS = 2_000;

  private record Open(TopicPartition partition, long producerId, long since) {}

  /** Does what `kafka-transactions.sh find-hanging` and `abort` do, on these topics and on the offsets of groups. Returns on how many partitions. */
  static int abort(Admin admin, Collection<String> topics) throws Exception {
    Map<Open, ProducerState> first = find(admin, topics);
    if (first.isEmpty()) return 0;
    Thread.sleep(APART_MS);
    int aborted = 0;
    for (Map.Entry<Open, ProducerState> one : find(admin, topics).entrySet()) {
      if (!first.containsKey(one.getKey())) continue;
      ProducerState producer = one.getValue();
      admin.abortTransaction(new AbortTransactionSpec(one.getKey().partition, producer.producerId(), (short) producer.producerEpoch(), producer.coordinatorEpoch().orElse(0))).all().get();
      aborted++;
    }
    return aborted;
  }

  private static Map<Open, ProducerState> find(Admin admin, Collection<String> topics) throws Exception {
    List<String> all = new ArrayList<>(topics);
    all.add("__consumer_offsets");
    List<TopicPartition> partitions = new ArrayList<>();
    for (var topic : admin.describeTopics(all).allTopicNames().get().values())
      topic.partitions().forEach(info -> partitions.add(new TopicPartition(topic.name(), info.partition())));
    Map<Open, ProducerState> found = new HashMap<>();
    for (var states : admin.describeProducers(partitions).all().get().entrySet())
      for (ProducerState producer : states.getValue().activeProducers())
        if (producer.currentTransactionStartOffset().isPresent())
          found.put(new Open(states.getKey(), producer.producerId(), producer.currentTransactionStartOffset().getAsLong()), producer);
    if (found.isEmpty()) return found;
    for (var listed : admin.listTransactions().all().get()) {
      if (found.keySet().stream().noneMatch(open -> open.producerId == listed.producerId())) continue;
      var under = admin.describeTransactions(List.of(listed.transactionalId())).description(listed.transactionalId()).get().topicPartitions();
      found.keySet().removeIf(open -> open.producerId == listed.producerId() && under.contains(open.partition));
    }
    return found;
  }

  private Hanging() {}
}
