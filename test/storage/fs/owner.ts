/** A process that opens the root which it is given, says so, and keeps it until its input ends. */
import { FilesystemStorage } from '../../../storage/fs/filesystem.ts'

const storage = await FilesystemStorage.open(process.argv[2] ?? '')
process.stdout.write('open\n')
process.stdin.resume().on('end', () => void storage.close())
