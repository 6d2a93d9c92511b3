/** Whether a pattern matches the subject of a token. */
export type SubjectPattern = (subject: string) => boolean

/**
 * Compiles a pattern of subjects such as `system:serviceaccount:d8-*:ci`: components separated by `:`, in each of which
 * one `*` stands for any characters. Takes time linear in the subject.
 */
export function compileSubjectPattern(text: string): SubjectPattern {
  const components = text.split(':').map(compileComponent)
  return subject => {
    const parts = subject.split(':')
    return parts.length === components.length && components.every((matches, index) => matches(parts[index] ?? ''))
  }
}

function compileComponent(text: string): (part: string) => boolean {
  const star = text.indexOf('*')
  if (star < 0) return part => part === text
  const [head, tail] = [text.slice(0, star), text.slice(star + 1)]
  return part => part !== '' && part.length >= head.length + tail.length && part.startsWith(head) && part.endsWith(tail)
}
