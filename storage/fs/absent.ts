// ENOTDIR, EISDIR: a directory is no object, and none is below a file. ENAMETOOLONG: no object can have such a name.
const absentCodes = new Set<string | undefined>(['ENOENT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG'])

/** For `catch`: an error that says that there is no such object becomes undefined, any other is thrown. */
export function ignoreAbsent(error: NodeJS.ErrnoException): undefined {
  if (!absentCodes.has(error.code)) throw error
}
