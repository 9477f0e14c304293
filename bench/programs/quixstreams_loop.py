# The job on quixstreams in its exactly-once mode.
import json
import os
import resource
import time

from quixstreams import Application

env = os.environ
total = int(env["RECORDS"])
began = 0.0
cpu = 0.0
seen = 0


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def watch(value):
    global began, cpu, seen
    if seen == 0:
        began = time.monotonic()
        cpu = cpu_seconds()
    seen += 1


def raised(value):
    order = json.loads(value)
    order["amount"] += 1
    return json.dumps(order, separators=(",", ":")).encode()


app = Application(
    broker_address=env["KAFKA_BROKERS"],
    consumer_group=f"quix-{os.getpid()}-{int(time.time() * 1000)}",
    processing_guarantee="exactly-once",
    auto_offset_reset="earliest",
    commit_interval=int(env["COMMIT_MS"]) / 1000,
    loglevel="ERROR",
)
frame = app.dataframe(app.topic(env["INPUT_TOPIC"], key_deserializer="bytes", value_deserializer="bytes"))
frame = frame.update(watch)
if env["MODE"] == "json":
    frame = frame.apply(raised)
frame.to_topic(app.topic(env["OUTPUT_TOPIC"], key_serializer="bytes", value_serializer="bytes"))
app.run(count=total, timeout=60)
seconds = time.monotonic() - began
used = cpu_seconds() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"records": total, "seconds": seconds, "cpuMicrosPerRecord": used / total * 1e6, "peakMegabytes": peak}), flush=True)
