// graphile-worker: adds jobs through the pooler, and works on them.
const { run, runMigrations, quickAddJob } = require('graphile-worker')
const { Logger } = require('graphile-worker')

const quiet = new Logger(() => () => {})
const direct = { connectionString: process.env.DIRECT_URL, logger: quiet }

async function main (form) {
  await runMigrations(direct)
  const pooled = { connectionString: process.env.DATABASE_URL, logger: quiet, noPreparedStatements: form !== 'default', maxPoolSize: 2 }
  const jobs = 8
  for (let n = 0; n < jobs; n++) await quickAddJob({ ...pooled, noPreparedStatements: true }, 'greet', { n })
  const seen = []
  let all
  const done = new Promise(resolve => { all = resolve })
  const greet = async ({ n }) => { if (seen.push(n) === jobs) all() }
  const worker = await run({ ...(form === 'correct' ? direct : pooled), concurrency: 1, pollInterval: 200, noHandleSignals: true, taskList: { greet } })
  await Promise.race([done, new Promise(resolve => setTimeout(resolve, 10_000))])
  await worker.stop().catch(() => {})
  return jobs - seen.length
}

const failed = e => { console.log('wrong:', e.message); process.exit(1) }
main(process.argv[2]).then(left => { if (left) console.log(`wrong: ${left} jobs were not run`); process.exit(left ? 1 : 0) }, failed)
