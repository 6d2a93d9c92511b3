import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { hash } from '@node-rs/bcrypt'

/** Users by name, each with a password and with the rights that the product gives them. */
export type Users = Readonly<Record<string, { password: string; rights: readonly string[] }>>

/** Writes an htpasswd file and answers its path. */
export async function writeHtpasswd(folder: string, users: Users): Promise<string> {
  const file = join(folder, 'htpasswd')
  const lines = await Promise.all(
    Object.entries(users).map(async ([user, { password }]) => `${user}:${await hash(password, { cost: 6 })}\n`)
  )
  await writeFile(file, lines.join(''))
  return file
}
