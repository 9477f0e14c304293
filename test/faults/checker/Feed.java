import java.nio.charset.StandardCharsets;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes the input of a pipeline, made from a seed, until it is told to stop; every record is acknowledged by all replicas in sync. */
final class Feed implements Runnable {
  private static final int KEYS = 32;

  private final String brokers;
  private final String[] topics;
  private final Rules rules;
  private final Random random;
  private final int perSecond;
  private final long most;
  private volatile boolean stopped;
  private volatile Throwable failure;
  private volatile long sent;
  private final Thread thread = new Thread(this, "feed");

  Feed(String brokers, String[] topics, Rules rules, long seed, int perSecond, long most) {
    this.brokers = brokers;
    this.topics = topics;
    this.rules = rules;
    this.random = new Random(seed);
    this.perSecond = perSecond;
    this.most = most;
    thread.start();
  }

  long stop() throws Exception {
    stopped = true;
    return ended();
  }

  long ended() throws Exception {
    thread.join();
    if (failure != null) throw new IllegalStateException("the input could not be written", failure);
    return sent;
  }

  @Override
  public void run() {
    Properties config = Topics.client(brokers);
    config.put("acks", "all");
    // What is written twice is twice in the input, and expected twice. An idempotent producer can end in a loop of sequence numbers that are
    // refused when its broker is stopped for longer than a request may take.
    config.put("enable.idempotence", false);
    config.put("max.in.flight.requests.per.connection", 1);
    config.put("delivery.timeout.ms", 600_000);
    config.put("max.block.ms", 600_000);
    config.put("linger.ms", 5);
    // Partitions that are added get their part soon.
    config.put("metadata.max.age.ms", 2_000);
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
      long began = System.nanoTime();
      long base = System.currentTimeMillis();
      Future<RecordMetadata> last = null;
      for (long n = 0; !stopped && n < most; n++) {
        Rules.Made made = rules.make(n, base, random);
        String topic = topics[topics.length == 1 ? 0 : random.nextInt(topics.length)];
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, null, made.timestamp(), bytes("k" + random.nextInt(KEYS)), bytes(made.value()));
        if (made.id() != null) {
          // The same id goes to the same partition: by the id as key.
          record = new ProducerRecord<>(topic, null, made.timestamp(), bytes(made.id()), bytes(made.value()));
          record.headers().add("id", bytes(made.id()));
        }
        last = producer.send(record, (metadata, error) -> {
          if (error != null) failure = error;
        });
        sent = n + 1;
        if (perSecond > 0) {
          long ahead = began + sent * 1_000_000_000L / perSecond - System.nanoTime();
          if (ahead > 1_000_000) Thread.sleep(ahead / 1_000_000);
        }
      }
      producer.flush();
      if (last != null) last.get();
    } catch (Throwable error) {
      failure = error;
    }
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
