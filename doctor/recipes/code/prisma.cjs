// Prisma with its driver adapter: a client whose every query works for one tenant.
const { PrismaClient } = require('@prisma/client')
const { PrismaPg } = require('@prisma/adapter-pg')

// The client of the application. By default Prisma waits 2 s for a connection, and ends a transaction after 5 s.
function createPrisma (url) {
  return new PrismaClient({
    adapter: new PrismaPg({ connectionString: url, max: 8 }),
    transactionOptions: { maxWait: 30_000, timeout: 30_000 }
  })
}

// A client for one tenant: await forTenant(prisma, tenant).item.findMany()
function forTenant (prisma, tenant) {
  return prisma.$extends({
    query: {
      async $allOperations ({ args, query }) {
        const [, result] = await prisma.$transaction([
          prisma.$executeRaw`select set_config('app.tenant', ${tenant}, true)`,
          query(args)
        ])
        return result
      }
    }
  })
}

// Several queries in one transaction: await inTenant(prisma, tenant, async tx => { ... })
function inTenant (prisma, tenant, work) {
  return prisma.$transaction(async tx => {
    await tx.$executeRaw`select set_config('app.tenant', ${tenant}, true)`
    return work(tx)
  })
}

module.exports = { createPrisma, forTenant, inTenant }
