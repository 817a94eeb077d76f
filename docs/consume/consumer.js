// Prints each record of every gateway once, as JSON lines; at the end what came
// twice and what is missing. Debian: node-mqtt. Usage: node consumer.js HOST PORT
const mqtt = require('mqtt')
const zlib = require('zlib')

const came = new Map() // gateway, session, source -> disjoint ranges of the numbers of records, in order
const seen = new Map() // the same with the numbers in loss records, whose ranges may overlap
const opened = new Set() // gateway, session whose start was seen: their account begins with 1
const count = { records: 0, duplicates: 0, lost: 0, unread: 0 }

// unpack returns the text of a message, which its first bytes call gzip, zstd or neither.
function unpack (payload, most = { maxOutputLength: 16 << 20 }) {
  const magic = payload.toString('hex', 0, 4)
  if (magic.startsWith('1f8b')) return zlib.gunzipSync(payload, most)
  if (magic !== '28b52ffd') return payload
  if (!zlib.zstdDecompressSync) throw new Error('zstd needs Node 22.15')
  return zlib.zstdDecompressSync(payload, most)
}

// enter remembers the numbers first to last. false: they are known.
function enter (known, stream, first, last) {
  const ranges = known.get(stream) || []
  const touching = ranges.filter(r => r[1] >= first - 1 && r[0] <= last + 1)
  if (touching.some(r => r[0] <= first && last <= r[1])) return false
  touching.push([first, last])
  const one = [Math.min(...touching.map(r => r[0])), Math.max(...touching.map(r => r[1]))]
  known.set(stream, [...ranges.filter(r => r[1] < first - 1), one, ...ranges.filter(r => r[0] > last + 1)])
  return true
}

const [host, port] = process.argv.slice(2)
const client = mqtt.connect(`mqtt://${host}:${port}`, { clientId: 'consumer-1', clean: false }) // the broker keeps what comes while this program is away
client.on('connect', () => client.subscribe('fieldferry/#', { qos: 1 }))
client.on('error', e => console.error(e.code || e.message)) // it tries again
client.on('message', (topic, payload) => {
  if (!payload.length || topic.includes('/config/part/')) return // a retained message that was cleared, a piece of a configuration
  let envelope, stream, found
  try {
    envelope = JSON.parse(unpack(payload))
    if (!envelope.records || envelope.v !== 1) return // status and meta, or a form of the future
    stream = [envelope.gateway, envelope.session, envelope.source]
    found = envelope.records.map(r => r.type === 'loss' ? [r, r.from, r.to] : [r, r.seq, r.seq])
    if (!found.every(f => Number.isInteger(f[1]) && Number.isInteger(f[2]))) throw new Error('a record has no number')
  } catch (e) { // one message that nobody can read does not stop the others
    count.unread++
    return console.error(`not read: ${topic}: ${e.message}`)
  }
  for (const [record, first, last] of found) {
    enter(seen, stream.join('/'), first, last)
    if (record.type === 'loss') continue
    if (enter(came, stream.join('/'), first, last)) {
      count.records++
      if (record.event === 'started') opened.add(stream.slice(0, 2).join('/'))
      console.log(JSON.stringify({ stream, ...record })) // your work
    } else count.duplicates++
  }
})

function end () {
  let missing = 0
  count.lost = -count.records
  for (const [stream, ranges] of seen) {
    let next = opened.has(stream.slice(0, stream.lastIndexOf('/'))) ? 1 : ranges[0][0]
    for (const r of ranges) {
      missing += r[0] - next
      next = r[1] + 1
      count.lost += next - r[0]
    }
  }
  console.log(JSON.stringify({ ...count, missing }))
  process.exit(0)
}
process.on('SIGTERM', end)
process.on('SIGINT', end)
