import type { Key, Storage, Writer } from '../../storage/storage.ts'

const attempts = 10

/** `create`, again if somebody removed the empty prefix in which the object was to lie. */
export async function createAgain(storage: Storage, key: Key): Promise<Writer> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await storage.create(key)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === attempts) throw error
    }
  }
}
