// A page in the visitor's language. The setting's name is a parameter too, as where a helper sets any of them.
const { Pool } = require('pg')

const forTransaction = process.argv[2] === 'correct'

async function page(pool, language) {
  const client = await pool.connect()
  try {
    if (forTransaction) await client.query('begin')
    await client.query('select set_config($1, $2, $3)', ['app.language', language, forTransaction])
    const { rows } = await client.query('select current_setting($1, true) as language', ['app.language'])
    if (forTransaction) await client.query('commit')
    if (rows[0].language !== language) throw new Error(`wrong: ${language} is ${rows[0].language}`)
  } finally {
    client.release()
  }
}

async function main() {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 3 })
  for (let i = 0; i < 4; i++) await Promise.all(['de', 'fr', 'en'].map((language) => page(pool, language)))
  await pool.end()
}

main().catch((err) => {
  console.log(err.message)
  process.exit(1)
})
