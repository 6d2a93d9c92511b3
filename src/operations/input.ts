/**
 * What one member of an operation's input has to be. The control socket checks it, and the command line for its
 * options.
 */
export interface InputMember {
  /** Completes "expected …". */
  expected: string
  accepts: (value: unknown) => boolean
}

/** The members of an input. Not a JSON Schema: compiling three of them would take 35 ms of every start. */
export type InputMembers<Input> = { readonly [Key in keyof Input]-?: InputMember }

const maxTextLength = 1024

/** A string of at most 1024 characters, which no reference exceeds. */
export const text: InputMember = {
  expected: `a string of at most ${maxTextLength} characters`,
  accepts: value => typeof value === 'string' && value.length <= maxTextLength
}

/** Any number of such strings. */
export const texts: InputMember = {
  expected: `an array of strings of at most ${maxTextLength} characters`,
  accepts: value => Array.isArray(value) && value.every(text.accepts)
}

/** `true` or `false`. */
export const flag: InputMember = { expected: 'true or false', accepts: value => typeof value === 'boolean' }

/** One of some words. */
export function oneOf(words: readonly string[]): InputMember {
  return { expected: `one of ${words.join(', ')}`, accepts: value => words.some(each => each === value) }
}

/** A whole number within limits, both included. */
export function integer(min: number, max: number): InputMember {
  return {
    expected: `a whole number from ${min} to ${max}`,
    accepts: value => Number.isInteger(value) && Number(value) >= min && Number(value) <= max
  }
}

/** A member that may be absent. */
export function optional({ expected, accepts }: InputMember): InputMember {
  return { expected: `nothing, or ${expected}`, accepts: value => value === undefined || accepts(value) }
}
