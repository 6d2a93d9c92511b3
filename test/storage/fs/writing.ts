// Writes into the storage of its argument until it is killed, and says so now and then.
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'

// Beyond limits, where puts are taken all the same, the count on disk is raised in small steps.
const storage = await FilesystemStorage.open(process.argv[2] ?? '', { limits: { budget: 1, inodeBudget: 1 } })
await Promise.all(
  [1, 2, 3].map(async writer => {
    for (let at = 0; ; at++) {
      await storage.put(`new/${process.pid}/${writer}/${at}`, Buffer.alloc(60_000))
      await storage.put(`replaced/${writer}/${at % 10}`, Buffer.alloc(at % 9000))
      process.stdout.write('.')
    }
  })
)
