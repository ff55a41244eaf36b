// A report over a table that a later step makes: it is asked for before that, and again afterwards.
const { Client } = require('pg')

async function main (form) {
  const client = new Client(process.env.DATABASE_URL)
  client.on('error', e => console.log(`wrong: the connection ended: ${e.message}`))
  await client.connect()
  const table = `report_${process.pid}`
  const query = { text: `select count(*)::int as n from ${table}` }
  if (form === 'faulty') query.name = 'count-report'
  await client.query(query).catch(() => {}) // not there yet
  await client.query(`create table ${table} (n int)`)
  const answer = await client.query(query).then(r => r.rows[0].n, e => e.message)
  await client.end().catch(() => {})
  if (answer === 0) return 0
  console.log(`wrong: the report has ${answer} rows`)
  return 1
}

main(process.argv[2]).then(faults => { process.exitCode = faults })
