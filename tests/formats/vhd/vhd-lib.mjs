// A VHD as Xen Orchestra's library reads it: vhd-lib.mjs MODULE FILE; prints its size and the SHA-256 of its blocks.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { open } from 'node:fs/promises'

const [module, path] = process.argv.slice(2)
const { default: Vhd } = createRequire(import.meta.url)(module)

const file = await open(path)
const handler = {
  read: async (_, buffer, position) => {
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
    return { bytesRead, buffer }
  },
  getSize: async () => (await file.stat()).size,
}
const vhd = new Vhd(handler, path)
await vhd.readHeaderAndFooter()
await vhd.readBlockAllocationTable()

const blocks = {}
for (let number = 0; number < vhd.header.maxTableEntries; number++) {
  if (!vhd.containsBlock(number)) continue
  const { bitmap, data } = await vhd._readBlock(number)
  blocks[number] = [bitmap.every(byte => byte === 0xff), createHash('sha256').update(data).digest('hex')]
}
const { currentSize, diskType, creatorApplication } = vhd.footer
console.log(JSON.stringify({ size: currentSize, type: diskType, creator: creatorApplication, blocks }))
await file.close()
