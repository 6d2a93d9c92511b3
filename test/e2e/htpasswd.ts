import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Users by name: a password, its bcrypt string, and the rights that the product gives them. */
export type Users = Readonly<Record<string, { password: string; bcrypt: string; rights: readonly string[] }>>

/** One who may do everything, and one who may only pull. The bcrypt strings are fixed and cheap: no test is about making them. */
export const users = {
  rw: {
    password: 'push-secret',
    bcrypt: '$2b$06$eySt/xryeBx7cK7OAYvLu.dd5ZKzKYxO03RW9VlmTrmt50O3VRYqq',
    rights: ['pull', 'push', 'delete']
  },
  ro: {
    password: 'pull-secret',
    bcrypt: '$2b$06$INcY3irDdKNYHFAVkkiJweBbXJN2bfqcsKabIiMKyWWYZjTFkOI9e',
    rights: ['pull']
  }
} as const satisfies Users

/** Writes an htpasswd file and answers its path. */
export async function writeHtpasswd(folder: string, users: Users): Promise<string> {
  const file = join(folder, 'htpasswd')
  const lines = Object.entries(users).map(([user, { bcrypt }]) => `${user}:${bcrypt}\n`)
  await writeFile(file, lines.join(''))
  return file
}
