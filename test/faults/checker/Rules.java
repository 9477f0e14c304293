import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/** What goes into each pipeline, and what must come out: written from what the operators promise, not from how they are made. */
enum Rules {
  copy, count, window, join, dedupe, retry, delay, idle;

  static final long WINDOW_MS = 1_000;
  static final long GRACE_MS = 50;
  static final long WITHIN_MS = 40;
  /** A record that fails more often than it is tried again is a dead letter. */
  static final int RETRIES = 2;
  /** What is delayed by so much stays in the state of the pipeline to the end. */
  static final long FAR_MS = 86_400_000;

  record Made(String value, long timestamp, String id) {}

  /** In which order outputs have to be: of their partition, of their key, or none. */
  enum Order { partition, key, none }

  /** Texts by role, 'out', 'late' or 'dead', each in the order of their partition or key. */
  static final class Expected {
    final Map<String, Map<String, List<String>>> outputs = new HashMap<>();
    /** What the changelogs must hold, null where they are not looked at. */
    Map<String, String> state;
    long filtered;
    long duplicate;

    void add(String role, String group, String text) {
      outputs.computeIfAbsent(role, key -> new HashMap<>()).computeIfAbsent(group, key -> new ArrayList<>()).add(text);
    }
  }

  Order order() {
    return switch (this) {
      case copy, count, dedupe -> Order.partition;
      case retry, window -> Order.key;
      default -> Order.none;
    };
  }

  List<String> roles() {
    return switch (this) {
      case window, idle -> List.of("out", "late");
      case retry -> List.of("out", "dead");
      default -> List.of("out");
    };
  }

  Made make(long n, long base, Random random) {
    long now = System.currentTimeMillis();
    return switch (this) {
      case copy -> new Made(n + "|" + (random.nextInt(7) == 0 ? "drop" : "pass"), now, null);
      case count -> new Made(n + "|pass", now, null);
      case window, idle, join -> new Made(n + "|pass", base + n * 5 - random.nextInt(10) / 9 * random.nextInt(600) - random.nextInt(20), null);
      case dedupe -> new Made(n + "|pass", now, "id-" + (random.nextInt(3) == 0 ? Math.max(0, n - random.nextInt(500)) : n));
      case retry -> new Made(n + "|" + (random.nextInt(50) == 0 ? 1 + random.nextInt(RETRIES + 1) : 0), now, null);
      case delay -> new Made(n + "|" + (random.nextInt(40) == 0 ? now + FAR_MS + n : now + random.nextInt(3_000)), now, null);
    };
  }

  static String number(String value) {
    return value.substring(0, value.indexOf('|'));
  }

  static String kind(String value) {
    return value.substring(value.indexOf('|') + 1);
  }

  /** How many records of the input an output stands for. */
  static int weight(String value) {
    if (!value.startsWith("{")) return 1;
    String list = value.substring(value.indexOf('[') + 1, value.indexOf(']'));
    return list.isEmpty() ? 0 : list.split(",").length;
  }

  /** The records of the input by partition, in order. */
  Expected expected(Map<Integer, List<Topics.Seen>> input) {
    Expected expected = new Expected();
    Map<String, String> state = new TreeMap<>();
    input.forEach((partition, records) -> {
      switch (this) {
        case copy -> records.forEach(record -> {
          if (kind(record.value()).equals("drop")) expected.filtered++;
          else expected.add("out", "" + partition, record.key() + "=" + record.value());
        });
        case count -> records.forEach(record -> {
          String total = "" + (Long.parseLong(state.getOrDefault(record.key(), "0")) + 1);
          state.put(record.key(), total);
          expected.add("out", "" + partition, record.key() + "=" + total);
        });
        case dedupe -> {
          Map<String, Topics.Seen> first = new HashMap<>();
          Map<String, Integer> times = new HashMap<>();
          records.forEach(record -> {
            if (first.putIfAbsent(record.id(), record) == null) expected.add("out", "" + partition, record.key() + "=" + record.value());
            else expected.duplicate++;
            state.put(State.claim(partition, record.id()), State.passed(first.get(record.id()).offset(), times.merge(record.id(), 1, Integer::sum) - 1));
          });
        }
        case retry -> records.forEach(record -> {
          boolean dead = Integer.parseInt(kind(record.value())) > RETRIES;
          expected.add(dead ? "dead" : "out", record.key(), record.key() + "=" + record.value());
        });
        case delay -> records.forEach(record -> {
          long due = Long.parseLong(kind(record.value()));
          if (due > record.timestamp() + FAR_MS / 2) state.put("" + due, "");
          else expected.add("out", "", record.key() + "=" + record.value());
        });
        case window -> windows(records, expected, state);
        case join -> join(records, expected, state);
        case idle -> {}
      }
    });
    // All lines of a retry topic are done in the end, and none is kept.
    if (this != copy && this != idle) expected.state = state;
    return expected;
  }

  private static void windows(List<Topics.Seen> records, Expected expected, Map<String, String> state) {
    TreeMap<Long, Map<String, List<String>>> open = new TreeMap<>();
    long time = Long.MIN_VALUE;
    for (Topics.Seen record : records) {
      long start = Math.floorDiv(record.timestamp(), WINDOW_MS) * WINDOW_MS;
      if (time != Long.MIN_VALUE && start + WINDOW_MS + GRACE_MS <= time) {
        expected.add("late", record.key(), record.key() + "=" + record.value());
        continue;
      }
      time = Math.max(time, record.timestamp());
      open.computeIfAbsent(start, key -> new LinkedHashMap<>()).computeIfAbsent(record.key(), key -> new ArrayList<>()).add(number(record.value()));
      while (!open.isEmpty() && open.firstKey() + WINDOW_MS + GRACE_MS <= time) {
        var closed = open.pollFirstEntry();
        closed.getValue().forEach((key, numbers) -> expected.add("out", key,
            key + "={\"start\":" + closed.getKey() + ",\"end\":" + (closed.getKey() + WINDOW_MS) + ",\"result\":[" + String.join(",", numbers) + "]}"));
      }
    }
    open.forEach((start, keys) -> keys.forEach((key, numbers) -> state.put(key + "@" + start, "[" + String.join(",", numbers) + "]")));
  }

  private static void join(List<Topics.Seen> records, Expected expected, Map<String, String> state) {
    Map<String, List<Topics.Seen>> left = new HashMap<>();
    Map<String, List<Topics.Seen>> right = new HashMap<>();
    for (Topics.Seen record : records) {
      boolean onRight = record.topic().endsWith("-right");
      (onRight ? right : left).computeIfAbsent(record.key(), key -> new ArrayList<>()).add(record);
      // The grace is longer than any run.
      state.put(State.joined(onRight, record.key() + "@" + record.timestamp(), record.value()), "");
    }
    left.forEach((key, ones) -> {
      for (Topics.Seen one : ones)
        for (Topics.Seen other : right.getOrDefault(key, List.of()))
          if (Math.abs(one.timestamp() - other.timestamp()) <= WITHIN_MS)
            expected.add("out", "", key + "=" + number(one.value()) + "+" + number(other.value()));
    });
  }
}
