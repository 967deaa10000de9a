// Xen Orchestra's client against a pool: xen-api.mjs MODULE URL USER PASSWORD VHD TRANSPORT; prints what it saw.
// What it does not trust is told to it by NODE_EXTRA_CA_CERTS.
import { readFile, open } from 'node:fs/promises'

const [module, url, user, password, file, transport] = process.argv.slice(2)
const { createClient } = await import(module)

const collect = async stream => {
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}

const xapi = createClient({ url, auth: { user, password }, transport, allowUnauthorized: false })
await xapi.connect()
await xapi.objectsFetched
const sr = xapi.pool.$default_SR

const size = Number(process.env.SIZE)
const record = {
  name_label: 'by xen-api', SR: sr.$ref, virtual_size: size, type: 'user',
  sharable: false, read_only: false, other_config: {},
}
const create = async () => xapi.call('VDI.create', record)

// A buffer, sent at once.
const first = await create()
const seen = await xapi.barrier(first)
const whole = await xapi.putResource(await readFile(file), '/import_raw_vdi/', {
  query: { format: 'vhd', vdi: first }, task: true,
})

// A stream, for which it asks beforehand where it may be redirected to.
const second = await create()
const handle = await open(file)
const stream = handle.createReadStream()
stream.length = (await handle.stat()).size
const streamed = await xapi.putResource(stream, '/import_raw_vdi/', {
  query: { format: 'vhd', vdi: second }, task: true,
})

// What is no VHD fails its task alone.
const third = await create()
const refused = await xapi
  .putResource(Buffer.alloc(4096, 1), '/import_raw_vdi/', { query: { format: 'vhd', vdi: third }, task: true })
  .then(() => '', error => error.code)

const answer = await xapi.getResource('/export_raw_vdi/', { query: { format: 'raw', vdi: first }, task: false })
const back = await collect(answer.body ?? answer)
const unknown = await xapi.call('VDI.get_uuid', 'OpaqueRef:none').then(() => '', error => `${error.code} ${error.params}`)

console.log(JSON.stringify({
  first, second, third, whole, streamed, refused, unknown,
  label: seen.name_label, sr: sr.name_label, back: back.length, size: seen.virtual_size,
}))
await xapi.call('VDI.destroy', third)
await xapi.disconnect()
process.exit(0)
