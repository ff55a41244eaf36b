// A service that goes on while a migration adds a column to what it reads.
const { Client } = require('pg')

async function main (form) {
  const client = new Client(process.env.DATABASE_URL)
  client.on('error', e => console.log(`wrong: the connection ended: ${e.message}`))
  await client.connect()
  const table = `setting_${process.pid}`
  const query = { text: `select * from ${table}` }
  if (form === 'faulty') query.name = 'settings'
  let faults = 0
  const columns = async () => client.query(query).then(r => r.fields.length, e => e.message)
  const check = async want => {
    const got = await columns()
    if (got === want) return
    console.log(`wrong: ${want} columns are ${got}`)
    faults++
  }
  await client.query(`create table ${table} (a int)`)
  await check(1)
  await client.query(`alter table ${table} add column b int`)
  for (let n = 0; n < 3; n++) await check(2)
  await client.end().catch(() => {})
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })
