// "prisma migrate deploy" with its engine in JavaScript, through the pooler or not.
const { spawnSync } = require('node:child_process')
const { dirname, join } = require('node:path')
const { Client } = require('pg')

async function main (form) {
  const client = new Client(process.env.DIRECT_URL) // a database that is not empty needs Prisma's table
  await client.connect()
  await client.query(`create table if not exists _prisma_migrations (id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz,
    migration_name varchar(255) not null, logs text, rolled_back_at timestamptz, started_at timestamptz not null default now(), applied_steps_count int not null default 0)`)
  await client.query('drop table if exists made; delete from _prisma_migrations')
  await client.end()
  const prisma = join(dirname(require.resolve('prisma/package.json')), 'build', 'index.js')
  const { status, stdout, stderr } = spawnSync(process.execPath, [prisma, 'migrate', 'deploy', '--config', join(__dirname, 'prisma', 'prisma.config.js')], {
    encoding: 'utf8',
    timeout: 150_000,
    env: {
      ...process.env,
      MIGRATE_URL: process.env[form === 'direct' ? 'DIRECT_URL' : 'DATABASE_URL'],
      CHECKPOINT_DISABLE: '1',
      PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', // or it would fetch the ones that it does not use
      PRISMA_QUERY_ENGINE_LIBRARY: '/bin/true'
    }
  })
  if (status !== 0) console.log('wrong:', stdout, stderr)
  return status
}

main(process.argv[2]).then(status => { process.exitCode = status === 0 ? 0 : 1 })
