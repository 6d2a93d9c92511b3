import { oneOf } from './kinds.ts'

/** The log levels, least to most verbose. */
export type LogLevel = 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace'

/** The level of the log. */
export const logLevel = (description: string) =>
  oneOf<LogLevel>(['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'], { default: 'info', reload: 'live', description })
