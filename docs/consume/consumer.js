// Prints each record of every gateway once, as JSON lines; at the end what came
// twice and what is missing. Debian: node-mqtt. Usage: node consumer.js HOST PORT
const mqtt = require('mqtt')

const seen = new Map() // gateway, session, source -> disjoint ranges of numbers, in order
const count = { records: 0, duplicates: 0, lost: 0 }

// enter remembers the numbers first to last. false: they came before.
function enter (stream, first, last) {
  const ranges = seen.get(stream) || []
  const touching = ranges.filter(r => r[1] >= first - 1 && r[0] <= last + 1)
  if (touching.some(r => r[0] <= first && last <= r[1])) return false
  touching.push([first, last])
  const one = [Math.min(...touching.map(r => r[0])), Math.max(...touching.map(r => r[1]))]
  seen.set(stream, [...ranges.filter(r => r[1] < first - 1), one, ...ranges.filter(r => r[0] > last + 1)])
  return true
}

const [host, port] = process.argv.slice(2)
const client = mqtt.connect(`mqtt://${host}:${port}`, { clientId: 'consumer-1', clean: false }) // the broker keeps what comes while this program is away
client.on('connect', () => client.subscribe('fieldferry/#', { qos: 1 }))
client.on('message', (topic, payload) => {
  const envelope = JSON.parse(payload)
  if (!envelope.records || envelope.v !== 1) return // status and meta, or a form of the future
  const stream = [envelope.gateway, envelope.session, envelope.source]
  for (const record of envelope.records) {
    if (record.type === 'loss') {
      if (enter(stream.join('/'), record.from, record.to)) count.lost += record.count
    } else if (enter(stream.join('/'), record.seq, record.seq)) {
      count.records++
      console.log(JSON.stringify({ stream, ...record })) // your work
    } else count.duplicates++
  }
})

function end () {
  let missing = 0
  for (const ranges of seen.values()) ranges.forEach((r, i) => { missing += r[0] - (i ? ranges[i - 1][1] : 0) - 1 })
  console.log(JSON.stringify({ ...count, missing }))
  process.exit(0)
}
process.on('SIGTERM', end)
process.on('SIGINT', end)
