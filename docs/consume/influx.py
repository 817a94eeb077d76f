#!/usr/bin/env python3
"""Writes each value of every gateway to InfluxDB, as line protocol. Debian:
python3-paho-mqtt. Usage: influx.py HOST PORT http://localhost:8086/write?db=plant
(InfluxDB 2: http://localhost:8086/api/v2/write?org=ORG&bucket=BUCKET, and its token as INFLUX_TOKEN)"""
import calendar, json, os, sys, time, urllib.error, urllib.request
import paho.mqtt.client as mqtt

def word(text):
    return "".join("\\" + c if c in ",= " else c for c in text.replace("\\", "/").replace("\n", " "))

def field(name, value):
    """One value. A text has a field of its own, because a field keeps its type: integers beyond 2^53 are texts."""
    if isinstance(value, dict):
        value = value["value"]
    if isinstance(value, bool):
        return [f"{word(name)}={str(value).lower()}"]
    if isinstance(value, (int, float)):
        return [f"{word(name)}={float(value)!r}"]
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{word(name)}.text="{quoted}"']
    return []  # null: there is no value

def lines(envelope):
    for r in envelope["records"]:
        values = r.get("values") or r.get("signals") or {}
        fields = [f for name, value in values.items() for f in field(name, value)]
        if fields:
            tags = {"gateway": envelope["gateway"], "device": r.get("device") or r.get("name")}
            seconds, fraction = r["ts"].rstrip("Z").split(".")
            ts = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))
            yield f"{word(envelope['source'])},{','.join(f'{k}={word(v)}' for k, v in tags.items() if v)} {','.join(fields)} {ts}{fraction:0<9}"

def on_message(client, userdata, message):
    envelope = json.loads(message.payload)
    body = "\n".join(lines(envelope)) if envelope.get("v") == 1 and "records" in envelope else ""
    if not body:
        return
    request = urllib.request.Request(sys.argv[3], body.encode())
    if "INFLUX_TOKEN" in os.environ:
        request.add_header("Authorization", "Token " + os.environ["INFLUX_TOKEN"])
    try:
        urllib.request.urlopen(request).close()  # before the PUBACK; an error ends the program
    except urllib.error.HTTPError as e:
        if e.code != 400:
            raise
        print(f"never taken: {e.read().decode()}\n{body}", file=sys.stderr, flush=True)

client = mqtt.Client("influx-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect = lambda c, *_: c.subscribe("fieldferry/#", qos=1)
client.on_message = on_message
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
