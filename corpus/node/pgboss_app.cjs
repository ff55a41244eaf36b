// pg-boss: adds a job and fetches it, all through the pooler; and a time limit.
const PgBoss = require('pg-boss')

async function main (form) {
  const boss = new PgBoss({ connectionString: process.env.DATABASE_URL, max: 2, supervise: false, schedule: false, ...(form === 'timeout' ? { statement_timeout: 30_000 } : {}) })
  boss.on('error', e => console.log('wrong:', e.message))
  await boss.start()
  await boss.createQueue('greetings')
  let faults = 0
  for (let n = 0; n < 4; n++) {
    await boss.send('greetings', { n })
    const [job] = await boss.fetch('greetings')
    if (job?.data.n !== n) {
      console.log(`wrong: job ${n} is ${JSON.stringify(job)}`)
      faults++
    } else await boss.complete('greetings', job.id)
  }
  await boss.stop({ graceful: false })
  return faults
}

main(process.argv[2]).then(faults => process.exit(faults ? 1 : 0), e => { console.log('wrong:', e.message); process.exit(1) })
