import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundleWorkflowCode } from '@temporalio/worker'

/** The bundle that the build writes, so that workers start without bundling. */
export const bundlePath = join(__dirname, 'workflow-bundle.js')

export const workflowSources = {
  workflowsPath: require.resolve('../workflows'),
  workflowInterceptorModules: [
    require.resolve('../workflows/details'),
    require.resolve('../workflows/tracing'),
  ],
}

async function bundle(): Promise<void> {
  const quiet = () => undefined
  const { code } = await bundleWorkflowCode({
    ...workflowSources,
    logger: { ...console, trace: quiet, log: quiet, debug: quiet, info: quiet },
  })
  writeFileSync(bundlePath, code)
}

if (require.main === module)
  bundle().catch((error: unknown) => {
    console.error(error)
    process.exitCode = 1
  })
