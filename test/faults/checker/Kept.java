import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/** Input that is no longer in its topics: read before somebody deleted it. */
final class Kept {
  /** What the group had read, by partition. */
  final Map<Integer, List<Topics.Seen>> read = new TreeMap<>();
  /** What nobody can read any more. */
  long gone;

  private Kept(Map<TopicPartition, List<Topics.Seen>> found, Map<TopicPartition, Long> committed) {
    found.forEach((partition, records) -> {
      long at = committed.getOrDefault(partition, Long.MAX_VALUE);
      read.computeIfAbsent(partition.partition(), key -> new ArrayList<>()).addAll(records.stream().filter(record -> record.offset() < at).toList());
    });
  }

  /** All that is in some topics. */
  static Kept all(String brokers, List<String> topics) {
    return new Kept(Topics.read(brokers, topics), Map.of());
  }

  /** Deletes what a group has read, and half of what it has not, as retention does that is ahead of its reader. */
  static Kept delete(String brokers, Admin admin, List<String> topics, String group) throws Exception {
    Map<TopicPartition, Long> committed = new HashMap<>();
    for (Map.Entry<TopicPartition, OffsetAndMetadata> at : admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().entrySet())
      committed.put(at.getKey(), at.getValue().offset());
    Map<TopicPartition, List<Topics.Seen>> found = Topics.read(brokers, topics);
    Kept kept = new Kept(found, committed);
    Map<TopicPartition, RecordsToDelete> upTo = new HashMap<>();
    try (KafkaConsumer<byte[], byte[]> consumer = Topics.consumer(brokers, "read_committed")) {
      consumer.endOffsets(found.keySet()).forEach((partition, end) -> {
        long from = committed.get(partition);
        if (end <= from) throw new IllegalStateException(partition + " has nothing that was not read");
        upTo.put(partition, RecordsToDelete.beforeOffset(from + (end - from + 1) / 2));
      });
    }
    admin.deleteRecords(upTo).all().get();
    found.forEach((partition, records) -> kept.gone +=
        records.stream().filter(record -> record.offset() >= committed.get(partition) && record.offset() < upTo.get(partition).beforeOffset()).count());
    return kept;
  }
}
