// Drizzle's transactions over a pool of two, with tries, on a pooler's bad day (drizzle-orm's issue 6241).
const { Pool, Client } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { sql } = require('drizzle-orm')

async function main (form) {
  const direct = new Client({ connectionString: process.env.DIRECT_URL })
  await direct.connect()
  await direct.query('create table badday (n int primary key)')
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 2 })
  pool.on('error', () => {})
  pool.on('connect', client => client.on('error', () => {}))
  const work = i => tx => tx.execute(sql`insert into badday values (${i}) on conflict do nothing`)
  const job = async i => {
    if (form === 'transaction') return drizzle(pool).transaction(work(i)) // if BEGIN fails, it does not give its client back
    const client = await pool.connect()
    let error
    try {
      await drizzle(client).transaction(work(i))
    } catch (e) {
      error = e
      throw e
    } finally {
      client.release(error)
    }
  }
  const worker = async first => {
    for (let i = first; i < 40; i += 2) {
      for (let tries = 1; ; tries++) {
        try {
          await job(i)
          break
        } catch (e) {
          if (tries > 8) throw e
        }
      }
    }
  }
  // Both workers wait for a client, and nobody else has one.
  const usedUp = new Promise(resolve => setInterval(() => { if (pool.waitingCount === 2) resolve(true) }, 50))
  if (await Promise.race([usedUp, Promise.all([worker(0), worker(1)])]) === true) {
    console.log(`wrong: the pool is used up: of ${pool.totalCount} clients ${pool.idleCount} are free`)
    await new Promise(resolve => setTimeout(resolve, 3000)) // it stands still
    return 1
  }
  const { rows: [{ n }] } = await direct.query('select count(*)::int as n from badday')
  if (n !== 40) console.log(`wrong: ${n} of 40 jobs are done`)
  return n === 40 ? 0 : 1
}

main(process.argv[2]).then(faults => process.exit(faults))
