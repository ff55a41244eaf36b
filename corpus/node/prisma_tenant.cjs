// Prisma with its driver adapter: a tenant for row-level security, set through $executeRaw.
const { PrismaClient } = require('@prisma/client')
const { PrismaPg } = require('@prisma/adapter-pg')

async function items (prisma, form, tenant) {
  const set = local => prisma.$executeRaw`select set_config('app.tenant', ${tenant}, ${local})`
  const get = () => prisma.$queryRaw`select distinct tenant from item where tenant = current_setting('app.tenant', true)`
  if (form === 'correct') {
    const [, rows] = await prisma.$transaction([set(true), get()])
    return rows
  }
  await set(false)
  return get()
}

async function main (form) {
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 1 }) })
  let faults = 0
  for (const tenant of ['tenant 0', 'tenant 1', 'tenant 0', 'tenant 1']) {
    const seen = (await items(prisma, form, tenant)).map(r => r.tenant).join()
    if (seen !== tenant || (await prisma.item.findUnique({ where: { id: 3 } })).name !== 'item 3') {
      console.log(`wrong: ${tenant} sees "${seen}"`)
      faults++
    }
  }
  await prisma.$disconnect()
  return faults
}

main(process.argv[2]).then(faults => { process.exitCode = faults ? 1 : 0 })
