import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundleWorkflowCode } from '@temporalio/worker'

/** Where the build leaves the workflows' bundle, so that a worker starts without bundling them itself. */
export const bundlePath = join(__dirname, 'workflow-bundle.js')

/** What a bundle is made of, whoever makes it: the workflows, what answers the Web UI for them, and what hands traces on. */
export const workflowSources = {
  workflowsPath: require.resolve('../workflows'),
  workflowInterceptorModules: [
    require.resolve('../workflows/details'),
    require.resolve('../workflows/tracing'),
  ],
}

async function bundle(): Promise<void> {
  const quiet = { ...console, trace: () => undefined, log: () => undefined }
  const { code } = await bundleWorkflowCode({
    ...workflowSources,
    logger: { ...quiet, debug: () => undefined, info: () => undefined },
  })
  writeFileSync(bundlePath, code)
}

if (require.main === module)
  bundle().catch((error: unknown) => {
    console.error(error)
    process.exitCode = 1
  })
