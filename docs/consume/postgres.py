#!/usr/bin/env python3
"""Puts each record of every gateway into PostgreSQL once. First run postgres.sql. Debian:
python3-paho-mqtt python3-psycopg2, and python3-zstandard for zstd. Usage: postgres.py HOST PORT
DATABASE, where DATABASE is as psql takes it: dbname=plant host=db user=fieldferry"""
import json, sys, zlib
import paho.mqtt.client as mqtt
import psycopg2

def unpack(payload, most=16 << 20):
    """The text of a message, which its first bytes call gzip, zstd or neither."""
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload, most)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard
        return zstandard.ZstdDecompressor().stream_reader(payload).read(most)
    return payload

database = psycopg2.connect(sys.argv[3])

def run(statement, values=()):
    with database, database.cursor() as cursor:  # a transaction
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else []

def take(payload):
    """Commits the records of a message. Returns why it cannot be read, or None."""
    try:
        text = unpack(payload).decode()
        if "records" in json.loads(text):  # the others are status, meta, commands
            run("SELECT take(%s)", [text])
    except Exception as e:
        if isinstance(e, psycopg2.Error) and (e.pgcode or "")[:2] not in ("22", "23", "54"):
            raise  # the database is at fault and not the message: ends the program
        return repr(e)

def on_message(client, userdata, message):
    if not message.payload or "/config/part/" in message.topic:
        return  # a retained message that was cleared, a piece of a configuration
    reason = take(message.payload)  # before the PUBACK
    if reason:
        print(f"not read: {message.topic}: {reason}", file=sys.stderr, flush=True)
        run("INSERT INTO unread (topic, payload, reason) VALUES (%s, %s, %s)", [message.topic, message.payload, reason])

def on_connect(client, userdata, flags, code):
    if code:
        return print("refused:", mqtt.connack_string(code), file=sys.stderr, flush=True)
    client.subscribe("fieldferry/#", qos=1)

for (number,) in run("SELECT number FROM unread"):  # something may have been installed since
    if take(bytes(run("SELECT payload FROM unread WHERE number = %s", [number])[0][0])) is None:
        run("DELETE FROM unread WHERE number = %s", [number])
client = mqtt.Client("postgres-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect, client.on_message = on_connect, on_message
client.on_connect_fail = lambda *_: print("the broker does not answer; trying again", file=sys.stderr, flush=True)
client.reconnect_delay_set(1, 10)  # paho's own delay grows to two minutes
client.connect_async(sys.argv[1], int(sys.argv[2]))
client.loop_forever(retry_first_connection=True)
