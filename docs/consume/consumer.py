#!/usr/bin/env python3
"""Prints each record of every gateway once, as JSON lines; at the end what came
twice and what is missing. Debian: python3-paho-mqtt. Usage: consumer.py HOST PORT"""
import json, signal, sys
import paho.mqtt.client as mqtt

seen = {}  # (gateway, session, source) -> disjoint ranges of numbers, in order
count = {"records": 0, "duplicates": 0, "lost": 0}

def enter(stream, first, last):
    """Remembers the numbers first to last. False: they came before."""
    ranges = seen.get(stream, [])
    below = [r for r in ranges if r[1] < first - 1]
    above = [r for r in ranges if r[0] > last + 1]
    touching = ranges[len(below):len(ranges) - len(above)]
    if any(r[0] <= first and last <= r[1] for r in touching):
        return False
    touching.append([first, last])
    seen[stream] = below + [[min(r[0] for r in touching), max(r[1] for r in touching)]] + above
    return True

def on_message(client, userdata, message):
    envelope = json.loads(message.payload)
    if "records" not in envelope or envelope["v"] != 1:
        return  # status and meta, or a form of the future
    stream = (envelope["gateway"], envelope["session"], envelope["source"])
    for record in envelope["records"]:
        if record["type"] == "loss":
            if enter(stream, record["from"], record["to"]):
                count["lost"] += record["count"]
        elif enter(stream, record["seq"], record["seq"]):
            count["records"] += 1
            print(json.dumps({"stream": stream, **record}), flush=True)  # your work, before the PUBACK
        else:
            count["duplicates"] += 1

def end(*_):
    missing = sum(b[0] - a[1] - 1 for r in seen.values() for a, b in zip([[0, 0]] + r, r))
    print(json.dumps({**count, "missing": missing}), flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
client = mqtt.Client("consumer-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect = lambda c, *_: c.subscribe("fieldferry/#", qos=1)
client.on_message = on_message
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
