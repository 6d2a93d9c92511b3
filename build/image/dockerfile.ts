import { DockerfileParser, type Instruction, type JSONInstruction, type PropertyInstruction } from 'dockerfile-ast'

/** What the last stage of a Dockerfile says of the image's configuration, in the form of the OCI image-spec (config.md, "Properties"). */
export interface RunConfig {
  User: string
  WorkingDir: string
  Env: string[]
  ExposedPorts: Record<string, object>
  Entrypoint: string[]
  Cmd: string[]
}

const searchPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Reads the last stage, so that an image that is made without a container engine starts its program in the same way. */
export function readRunConfig(dockerfile: string): RunConfig {
  const instructions = DockerfileParser.parse(dockerfile).getInstructions()
  const lastStage = instructions.slice(instructions.findLastIndex(each => each.getKeyword() === 'FROM'))
  const all = (keyword: string) => lastStage.filter(each => each.getKeyword() === keyword)
  const last = (keyword: string) => all(keyword).at(-1)?.getRawArgumentsContent() ?? ''
  return {
    User: last('USER'),
    WorkingDir: last('WORKDIR'),
    Env: [searchPath, ...all('ENV').flatMap(variables)],
    ExposedPorts: Object.fromEntries(
      all('EXPOSE')
        .flatMap(each => each.getArguments())
        .map(port => [`${port.getValue()}/tcp`, {}])
    ),
    Entrypoint: execForm(all('ENTRYPOINT').at(-1)),
    Cmd: execForm(all('CMD').at(-1))
  }
}

function variables(instruction: Instruction): string[] {
  return (instruction as PropertyInstruction).getProperties().map(each => `${each.getName()}=${each.getValue() ?? ''}`)
}

function execForm(instruction: Instruction | undefined): string[] {
  return ((instruction as JSONInstruction | undefined)?.getJSONStrings() ?? []).map(each => each.getJSONValue())
}
