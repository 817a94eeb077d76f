#!/usr/bin/env python3
"""Writes each value of every gateway to InfluxDB, as line protocol. Debian: python3-paho-mqtt, and
python3-zstandard for zstd. Usage: influx.py HOST PORT http://localhost:8086/write?db=plant
(InfluxDB 2: http://localhost:8086/api/v2/write?org=ORG&bucket=BUCKET, and its token as INFLUX_TOKEN)"""
import calendar, json, os, sys, time, urllib.error, urllib.request, zlib
import paho.mqtt.client as mqtt

def unpack(payload, most=16 << 20):
    """The text of a message, which its first bytes call gzip, zstd or neither."""
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload, most)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard
        return zstandard.ZstdDecompressor().stream_reader(payload).read(most)
    return payload

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
            tags = {"gateway": envelope["gateway"], "device": r.get("device") or r.get("name"), "sa": str(r.get("sa", ""))}
            seconds, fraction = r["ts"].rstrip("Z").split(".")
            ts = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S"))
            yield f"{word(envelope['source'])},{','.join(f'{k}={word(v)}' for k, v in tags.items() if v)} {','.join(fields)} {ts}{fraction:0<9}"

def on_message(client, userdata, message):
    if not message.payload or "/config/part/" in message.topic:
        return  # a retained message that was cleared, a piece of a configuration
    try:
        envelope = json.loads(unpack(message.payload))
        body = "\n".join(lines(envelope)).encode() if "records" in envelope and envelope["v"] == 1 else b""
    except Exception as e:  # one message that nobody can read does not stop the others
        return print(f"not read: {message.topic}: {e!r}", file=sys.stderr, flush=True)
    if not body:
        return
    request = urllib.request.Request(sys.argv[3], body)
    if "INFLUX_TOKEN" in os.environ:
        request.add_header("Authorization", "Token " + os.environ["INFLUX_TOKEN"])
    try:
        urllib.request.urlopen(request).close()  # before the PUBACK; an error ends the program
    except urllib.error.HTTPError as e:
        if e.code != 400:
            raise
        print(f"not taken: {message.topic}: {e.read().decode()}\n{body.decode()}", file=sys.stderr, flush=True)

def on_connect(client, userdata, flags, code):
    if code:
        return print("refused:", mqtt.connack_string(code), file=sys.stderr, flush=True)
    client.subscribe("fieldferry/#", qos=1)

client = mqtt.Client("influx-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect, client.on_message = on_connect, on_message
client.on_connect_fail = lambda *_: print("the broker does not answer; trying again", file=sys.stderr, flush=True)
client.reconnect_delay_set(1, 10)  # paho's own delay grows to two minutes
client.connect_async(sys.argv[1], int(sys.argv[2]))
client.loop_forever(retry_first_connection=True)
