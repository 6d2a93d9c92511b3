import { test } from 'tap'
import { openS3, startS3 } from '../support/s3-server.ts'
import { storageContract } from './contract.ts'

test('a bucket keeps the contract of storage', async t => {
  const server = await startS3(t)
  if (server) await storageContract(t, { name: 's3', open: t => openS3(t, server), step: 1_100 })
})
