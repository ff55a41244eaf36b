// A query with a name, which node-postgres prepares once for each connection.
const { Pool } = require('pg')

async function main (form) {
  const once = form === 'once' // one connection, one query
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: once ? 1 : 2 })
  let faults = 0
  const ask = async n => {
    const query = { text: 'select name from item where id = $1', values: [n] }
    if (form !== 'correct') query.name = 'fetch-item'
    const answer = await pool.query(query).then(r => r.rows[0].name, e => e.message)
    if (answer !== `item ${n}`) {
      console.log(`wrong: item ${n} is ${answer}`)
      faults++
    }
  }
  if (once) await ask(7)
  else for (let n = 1; n <= 6; n++) await Promise.all([ask(n), ask(n + 100)])
  await pool.end()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })
