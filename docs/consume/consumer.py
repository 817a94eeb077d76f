#!/usr/bin/env python3
"""Prints each record of every gateway once, as JSON lines; at the end what came twice and what is
missing. Debian: python3-paho-mqtt, and python3-zstandard for zstd. Usage: consumer.py HOST PORT"""
import json, signal, sys, zlib
import paho.mqtt.client as mqtt

came = {}  # (gateway, session, source) -> disjoint ranges of the numbers of records, in order
seen = {}  # the same with the numbers in loss records, whose ranges may overlap
opened = set()  # (gateway, session) whose start was seen: their account begins with 1
count = {"records": 0, "duplicates": 0, "lost": 0, "unread": 0}
stops = {signal.SIGTERM, signal.SIGINT}

def unpack(payload, most=16 << 20):
    """The text of a message, which its first bytes call gzip, zstd or neither."""
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload, most)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard
        return zstandard.ZstdDecompressor().stream_reader(payload).read(most)
    return payload

def enter(known, stream, first, last):
    """Remembers the numbers first to last. False: they are known."""
    ranges = known.get(stream, [])
    below = [r for r in ranges if r[1] < first - 1]
    above = [r for r in ranges if r[0] > last + 1]
    touching = ranges[len(below):len(ranges) - len(above)]
    if any(r[0] <= first and last <= r[1] for r in touching):
        return False
    touching.append([first, last])
    known[stream] = below + [[min(r[0] for r in touching), max(r[1] for r in touching)]] + above
    return True

def on_message(client, userdata, message):
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # a message is taken as a whole; a stop waits for its end
    try:
        take(message)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)

def take(message):
    if not message.payload or "/config/part/" in message.topic:
        return  # a retained message that was cleared, a piece of a configuration
    try:
        envelope = json.loads(unpack(message.payload))
        if "records" not in envelope or envelope["v"] != 1:
            return  # status and meta, or a form of the future
        stream = (str(envelope["gateway"]), int(envelope["session"]), str(envelope["source"]))
        found = [(r, *(int(r[k]) for k in (("from", "to") if r["type"] == "loss" else ("seq", "seq")))) for r in envelope["records"]]
    except Exception as e:  # one message that nobody can read does not stop the others
        count["unread"] += 1
        return print(f"not read: {message.topic}: {e!r}", file=sys.stderr, flush=True)
    for record, first, last in found:
        enter(seen, stream, first, last)
        if record["type"] == "loss":
            continue
        if not enter(came, stream, first, last):
            count["duplicates"] += 1
        else:
            count["records"] += 1
            if record.get("event") == "started":
                opened.add(stream[:2])
            print(json.dumps({"stream": stream, **record}), flush=True)  # your work, before the PUBACK

def end(*_):
    numbers = lambda known: sum(r[1] - r[0] + 1 for ranges in known.values() for r in ranges)
    count["lost"] = numbers(seen) - numbers(came)
    known = [([[0, 0]] if stream[:2] in opened else []) + ranges for stream, ranges in seen.items()]
    missing = sum(b[0] - a[1] - 1 for r in known for a, b in zip(r, r[1:]))
    print(json.dumps({**count, "missing": missing}), flush=True)
    sys.exit(0)

def on_connect(client, userdata, flags, code):
    if code:
        return print("refused:", mqtt.connack_string(code), file=sys.stderr, flush=True)
    client.subscribe("fieldferry/#", qos=1)

for stop in stops:
    signal.signal(stop, end)
client = mqtt.Client("consumer-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect, client.on_message = on_connect, on_message
client.on_connect_fail = lambda *_: print("the broker does not answer; trying again", file=sys.stderr, flush=True)
client.reconnect_delay_set(1, 10)  # paho's own delay grows to two minutes
client.connect_async(sys.argv[1], int(sys.argv[2]))
client.loop_forever(retry_first_connection=True)
