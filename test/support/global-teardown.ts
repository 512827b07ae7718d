import { stopSharedCluster } from './cluster'

export default stopSharedCluster
