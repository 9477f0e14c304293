import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Reads changelogs as whoever restores them does: the last value of each key, in the form that the operator gave it. */
final class State {
  private static final int SEQ_BYTES = 4;

  /** What the changelogs of a pipeline hold, by what names it in the input. */
  static Map<String, String> read(String brokers, Rules rules, List<String> changelogs) {
    Map<String, String> state = new TreeMap<>();
    for (String changelog : changelogs) {
      Topics.read(brokers, List.of(changelog)).forEach((partition, records) -> {
        Map<String, Topics.Seen> last = new HashMap<>();
        for (Topics.Seen record : records) {
          // Under the empty key is the operator's own note.
          if (record.keyBytes().length == 0) continue;
          String key = new String(record.keyBytes(), StandardCharsets.ISO_8859_1);
          if (record.valueBytes() == null) last.remove(key);
          else last.put(key, record);
        }
        List<Topics.Seen> kept = new ArrayList<>(last.values());
        kept.sort(Comparator.comparingLong(Topics.Seen::offset));
        for (Topics.Seen record : kept) put(state, rules, changelog, partition.partition(), record);
      });
    }
    return state;
  }

  private static void put(Map<String, String> state, Rules rules, String changelog, int partition, Topics.Seen record) {
    switch (rules) {
      case window, idle -> state.put(windowKey(record.keyBytes(), 0), record.value());
      case join -> {
        // Flags stand before the value.
        byte[] value = record.valueBytes();
        String text = new String(value, 1, value.length - 1, StandardCharsets.UTF_8);
        state.put(joined(changelog.contains("-join-right-"), windowKey(record.keyBytes(), SEQ_BYTES), text), "");
      }
      case dedupe -> claims(state, partition, ByteBuffer.wrap(record.valueBytes()));
      // The time it is due at stands before the record.
      case delay -> state.put("" + ByteBuffer.wrap(record.valueBytes()).getLong(), "");
      default -> state.put(record.key(), record.value());
    }
  }

  static String joined(boolean right, String place, String value) {
    return (right ? "right " : "left ") + place + "=" + value;
  }

  static String claim(int partition, String id) {
    return partition + "/" + id;
  }

  static String passed(long offset, int duplicates) {
    return "passed at " + offset + ", " + duplicates + " duplicates";
  }

  /** The key of a record, the start of its window behind it, or its time, and so many bytes. */
  private static String windowKey(byte[] key, int more) {
    int at = key.length - Long.BYTES - more;
    return new String(key, 0, at, StandardCharsets.UTF_8) + "@" + ByteBuffer.wrap(key, at, Long.BYTES).getLong();
  }

  /** A topic and a partition, and then claims: id, offset and time as differences, how many duplicates, and a result. */
  private static void claims(Map<String, String> state, int partition, ByteBuffer chunk) {
    text(chunk);
    long of = varint(chunk);
    if (of != partition) throw new IllegalStateException("claims of partition " + of + " in the changelog of " + partition);
    long offset = 0;
    while (chunk.hasRemaining()) {
      String id = text(chunk);
      offset += varint(chunk);
      varint(chunk);
      int duplicates = (int) varint(chunk);
      text(chunk);
      state.put(claim(partition, id), passed(offset, duplicates));
    }
  }

  private static String text(ByteBuffer from) {
    int length = (int) varint(from);
    if (length < 0) return null;
    byte[] bytes = new byte[length];
    from.get(bytes);
    return new String(bytes, StandardCharsets.UTF_8);
  }

  /** A number in as many bytes as it needs, its sign in the last bit. */
  private static long varint(ByteBuffer from) {
    long value = 0;
    for (int shift = 0; ; shift += 7) {
      byte next = from.get();
      value |= (long) (next & 0x7f) << shift;
      if (next >= 0) return (value >>> 1) ^ -(value & 1);
    }
  }

  private State() {}
}
