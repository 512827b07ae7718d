import { startSharedCluster } from './cluster'

export default startSharedCluster
