// Jobs of two writes each, with tries, on a pooler's bad day (prove --faults).
const { Pool, Client } = require('pg')

async function job (pool, form, i) {
  let client, error
  if (form === 'leak') {
    client = await pool.connect()
    await client.query('begin') // if this fails, nobody gives the client back
  }
  try {
    client = client || await pool.connect()
    client.on('error', () => {})
    if (form === 'goes-on') await client.query('begin').catch(() => {})
    if (form === 'correct') await client.query('begin')
    const { rowCount } = await client.query('insert into badday values ($1, $2) on conflict do nothing', [i, 'first'])
    if (i % 2) throw new Error('refused')
    if (rowCount) await client.query('insert into badday values ($1, $2) on conflict do nothing', [i, 'second'])
    await client.query('commit')
  } catch (e) {
    error = e
    await client?.query('rollback').catch(() => {})
    if (e.message !== 'refused') throw e
  } finally {
    client?.release(error && error.message !== 'refused')
  }
}

async function main (form) {
  const direct = new Client({ connectionString: process.env.DIRECT_URL })
  await direct.connect()
  await direct.query('create table badday (n int, part text, primary key (n, part))')
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 20 })
  pool.on('error', () => {})
  for (let i = 0; i < 40; i++) {
    for (let tries = 1; ; tries++) {
      try {
        await job(pool, form, i)
        break
      } catch (e) {
        if (tries > 8) throw e
      }
    }
  }
  let faults = 0
  if (pool.totalCount > pool.idleCount) {
    console.log(`wrong: ${pool.totalCount - pool.idleCount} clients were never given back`)
    faults++
  }
  const { rows: [{ halves }] } = await direct.query('select count(*)::int as halves from (select n from badday group by n having count(*) <> 2) x')
  if (halves) {
    console.log(`wrong: ${halves} halves of a transaction`)
    faults++
  }
  await direct.end()
  return faults
}

main(process.argv[2]).then(faults => process.exit(faults ? 1 : 0))
