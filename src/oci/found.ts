import { isDenied, isNotFound } from './errors.ts'

/** What a source answers, or undefined for the errors that `isAbsent` recognises. */
export async function found<T>(answer: Promise<T>, isAbsent: (error: unknown) => boolean = isNotFound): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

/**
 * Whether a registry that is going to be pushed to tells that it lacks something. It may refuse to tell of a repository
 * that does not exist yet; if the right is missing, the push fails.
 */
export function isAbsentAtTarget(error: unknown): boolean {
  return isNotFound(error) || isDenied(error)
}
