import { type Attack, attack } from '../test/abuse/attackers.ts'

// A process of its own, started by the workload: attackers.ts ATTACK, as JSON without `random`. It says "ready" when the
// attackers have come, and goes on until it is ended.

// A handshake takes the server about a millisecond.
const handshakeMs = 3
const given = JSON.parse(process.argv[2] ?? '') as Omit<Attack, 'random'>
const begun = attack({ ...given, random: Math.random })
setTimeout(() => process.stdout.write(`ready, ${begun.open} connections are open\n`), 2000 + handshakeMs * given.count)
