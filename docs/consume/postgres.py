#!/usr/bin/env python3
"""Puts each record of every gateway into PostgreSQL once. First run postgres.sql.
Debian: python3-paho-mqtt python3-psycopg2. Usage: postgres.py HOST PORT DATABASE,
where DATABASE is as psql takes it: dbname=plant host=db user=fieldferry"""
import sys
import paho.mqtt.client as mqtt
import psycopg2

database = psycopg2.connect(sys.argv[3])

def on_connect(client, userdata, flags, code):
    client.subscribe("fieldferry/#", qos=1)

def on_message(client, userdata, message):
    if b'"records"' not in message.payload:
        return  # status and meta
    try:
        with database, database.cursor() as cursor:  # committed before the PUBACK; other errors end the program
            cursor.execute("SELECT take(%s)", [message.payload.decode()])
    except psycopg2.DataError as e:
        print(f"never taken: {e}\n{message.payload!r}", file=sys.stderr, flush=True)

client = mqtt.Client("postgres-1", clean_session=False)  # the broker keeps what comes while this program is away
client.on_connect = on_connect
client.on_message = on_message
client.connect(sys.argv[1], int(sys.argv[2]))
client.loop_forever()
